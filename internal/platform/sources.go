package platform

import "net/http"

type sourceView struct {
	SourceBlob struct {
		GetURL string `json:"get_url"`
		PutURL string `json:"put_url"`
	} `json:"source_blob"`
}

func (p *Platform) createSource(w http.ResponseWriter, r *http.Request) error {
	key := sourceKey(newUUID())
	var v sourceView
	v.SourceBlob.GetURL = p.blobURL(http.MethodGet, key)
	v.SourceBlob.PutURL = p.blobURL(http.MethodPut, key)
	return reply(w, r, http.StatusCreated, v)
}

// createAppSource serves the older endpoint. Its sources belong to the account
// too.
func (p *Platform) createAppSource(w http.ResponseWriter, r *http.Request) error {
	if _, err := withApp(p, r, func(*app) (any, error) { return nil, nil }); err != nil {
		return err
	}
	return p.createSource(w, r)
}

func (p *Platform) blobURL(method, key string) string {
	return p.signer.blobURL(p.blob.url, method, key, p.opts.SourceTTL)
}
