package redact

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// minSecret is the length from which a part of a URL is hidden wherever it appears:
// "host" and "86400" are in signed URLs and in any other text. Keys may be shorter.
const (
	minSecret = 6
	minKey    = 4
)

// OfURL returns the secret parts of a URL: its query, parameters, user information and
// fragment.
func OfURL(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		_, query, _ := strings.Cut(raw, "?")
		u = &url.URL{RawQuery: query}
	}
	secrets := append(OfQuery(u.RawQuery), u.Fragment)
	if u.User != nil {
		password, _ := u.User.Password()
		secrets = append(secrets, u.User.String(), u.User.Username(), password,
			// The network library sends the user information in this form.
			base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return long(secrets, minSecret)
}

// OfQuery returns the secret parts of a query: all of it, its parameters, and their
// values.
func OfQuery(query string) []string {
	if query == "" {
		return nil
	}
	secrets := []string{query}
	for _, parameter := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		_, value, _ := strings.Cut(parameter, "=")
		secrets = append(secrets, parameter, value)
	}
	return long(secrets, minSecret)
}

// OfHeader returns the secret parts of a header: all values, and for credentials also
// the part after the scheme and what that encodes.
func OfHeader(header http.Header) []string {
	var secrets []string
	for _, values := range header {
		for _, value := range values {
			_, credential, _ := strings.Cut(value, " ")
			secrets = append(secrets, value, credential)
			if user, err := base64.StdEncoding.DecodeString(credential); err == nil {
				_, password, _ := strings.Cut(string(user), ":")
				secrets = append(secrets, string(user), password)
			}
		}
	}
	return long(secrets, minKey)
}

// OfResponse returns the secret parts of the URLs that led to a response: a redirect
// may have led to another signed URL.
func OfResponse(resp *http.Response) []string {
	var secrets []string
	for resp != nil && resp.Request != nil {
		if u := resp.Request.URL; u != nil && (u.RawQuery != "" || u.User != nil) {
			secrets = append(secrets, OfURL(u.String())...)
		}
		resp = resp.Request.Response
	}
	return secrets
}

func long(secrets []string, least int) []string {
	return slices.DeleteFunc(secrets, func(s string) bool { return len(s) < least })
}
