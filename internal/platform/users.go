package platform

import "net/http"

// requestedUser fails unless the user named in a request's path is the account:
// by email address, by ID, or as "~".
func (p *Platform) requestedUser(r *http.Request) error {
	switch r.PathValue("user") {
	case "~", p.account.Email, p.account.ID:
		return nil
	}
	return notFound("user")
}

// ofUser serves the account's own resources under the path of a user.
func (p *Platform) ofUser(serve apiFunc) apiFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := p.requestedUser(r); err != nil {
			return err
		}
		return serve(w, r)
	}
}
