package platform

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody limits the size of the body of an API request.
const maxBody = 1 << 20

// apiError is an error response of the API.
type apiError struct {
	status   int
	ID       string `json:"id"`
	Message  string `json:"message"`
	Resource string `json:"resource,omitempty"`
	URL      string `json:"url,omitempty"`
}

func (e *apiError) Error() string { return e.ID + ": " + e.Message }

func notFound(resource string) *apiError {
	return &apiError{status: http.StatusNotFound, ID: "not_found", Message: "Couldn't find that " + resource + ".", Resource: resource}
}

func badRequest(message string) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "bad_request", Message: message}
}

func invalid(message string) *apiError {
	return &apiError{status: http.StatusUnprocessableEntity, ID: "invalid_params", Message: message}
}

// apiFunc serves a request, or returns an *apiError to be sent instead.
type apiFunc func(w http.ResponseWriter, r *http.Request) error

func (p *Platform) apiHandler() http.Handler {
	mux := http.NewServeMux()
	endpoints := map[string]apiFunc{
		"GET /account":             p.getAccount,
		"GET /account/rate-limits": p.getRateLimits,
		"GET /stacks":              p.listStacks,
		"GET /stacks/{stack}":      p.getStack,
		"GET /users/{user}":        p.ofUser(p.getAccount),
		"GET /users/{user}/apps":   p.ofUser(p.listApps),

		"GET /apps":                     p.listApps,
		"GET /apps/{app}":               p.getApp,
		"GET /apps/{app}/config-vars":   p.getConfigVars,
		"PATCH /apps/{app}/config-vars": p.patchConfigVars,

		"GET /apps/{app}/buildpack-installations": p.listInstallations,
		"GET /apps/{app}/collaborators":           p.listCollaborators,
		"GET /apps/{app}/formation":               p.listFormation,
		"GET /apps/{app}/pipeline-couplings":      p.getPipelineCoupling,

		"POST /sources":            p.createSource,
		"POST /apps/{app}/sources": p.createAppSource,

		"POST /apps/{app}/builds":           p.createBuild,
		"GET /apps/{app}/builds":            p.listBuilds,
		"GET /apps/{app}/builds/{build}":    p.getBuild,
		"DELETE /apps/{app}/builds/{build}": p.cancelBuild,
		"DELETE /apps/{app}/build-cache":    p.deleteBuildCache,

		"POST /apps/{app}/slugs":       p.createSlug,
		"GET /apps/{app}/slugs/{slug}": p.getSlug,

		"GET /apps/{app}/oci-images/{image}": p.getImage,

		"POST /apps/{app}/releases":                      p.createRelease,
		"GET /apps/{app}/releases":                       p.listReleases,
		"GET /apps/{app}/releases/{release}":             p.getRelease,
		"GET /apps/{app}/releases/{release}/config-vars": p.getReleaseConfigVars,
	}
	maps.Copy(endpoints, p.emptyLists())
	for pattern, f := range endpoints {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			p.writeError(w, r, f(w, r))
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Request-Id", requestID(r.Header.Get("Request-Id")))
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "private, no-cache")
		h.Set("RateLimit-Remaining", strconv.Itoa(p.limiter.remaining()))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := p.checkRequest(w, r, mux); err != nil {
			p.writeError(w, r, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// requestID returns a new request ID, preceded by the one that the client sent.
func requestID(sent string) string {
	id := newUUID()
	if sent == "" || len(sent) > 1<<10 {
		return id
	}
	return sent + "," + id
}

// checkRequest performs the checks common to all endpoints.
func (p *Platform) checkRequest(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) error {
	if _, ok := acceptedVersion(r); !ok {
		return &apiError{status: http.StatusNotAcceptable, ID: "not_acceptable", Message: "The requested API version was not specified or is not available. Please specify `application/vnd.heroku+json; version=3` in the `Accept` header.", URL: "https://devcenter.heroku.com/articles/platform-api-reference#clients"}
	}
	if !p.authorized(r) {
		return &apiError{status: http.StatusUnauthorized, ID: "unauthorized", Message: "Invalid credentials provided."}
	}
	if r.URL.Path != "/account/rate-limits" {
		ok := p.limiter.take()
		w.Header().Set("RateLimit-Remaining", strconv.Itoa(p.limiter.remaining()))
		if !ok {
			return &apiError{status: http.StatusTooManyRequests, ID: "rate_limit", Message: "Your account reached the API rate limit. Please wait a few minutes before making new requests", URL: "https://devcenter.heroku.com/articles/platform-api-reference#rate-limits"}
		}
	}
	// The mux would redirect a path that is not clean; the API does not.
	if path.Clean(r.URL.Path) == r.URL.Path {
		if _, pattern := mux.Handler(r); pattern != "" {
			return nil
		}
		if allow := allowedMethods(mux, r); len(allow) > 0 {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			return &apiError{status: http.StatusMethodNotAllowed, ID: "method_not_allowed", Message: "The requested API endpoint does not answer to this HTTP verb."}
		}
	}
	return &apiError{status: http.StatusNotFound, ID: "not_found", Message: "The requested API endpoint was not found. Are you using the right HTTP verb (i.e. `GET` vs. `POST`), and did you specify your intended version with the `Accept` header?"}
}

func allowedMethods(mux *http.ServeMux, r *http.Request) []string {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		try := r.Clone(r.Context())
		try.Method = m
		if _, pattern := mux.Handler(try); pattern != "" {
			allow = append(allow, m)
		}
	}
	return allow
}

// acceptedVersion returns the version of the API that the Accept header requests:
// 3, or a variant of it such as 3.cancel-build.
func acceptedVersion(r *http.Request) (version string, ok bool) {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || media != "application/vnd.heroku+json" {
			continue
		}
		number, variant, dotted := strings.Cut(params["version"], ".")
		if number == "3" && (variant != "" || !dotted) {
			return params["version"], true
		}
	}
	return "", false
}

// authorized reports whether a request carries the token, as a bearer token or
// as the password of any user.
func (p *Platform) authorized(r *http.Request) bool {
	token, ok := credentials(r.Header.Get("Authorization"))
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(p.opts.Token)) == 1
}

// credentials returns the token of an Authorization header. Without a scheme the
// credentials are those of Basic, as Heroku's own Java client sends them.
func credentials(header string) (token string, ok bool) {
	scheme, value, found := strings.Cut(header, " ")
	if !found {
		scheme, value = "Basic", header
	}
	switch strings.ToLower(scheme) {
	case "bearer":
		return strings.TrimSpace(value), true
	case "basic":
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err != nil {
			return "", false
		}
		_, token, ok = strings.Cut(string(decoded), ":")
		return token, ok
	}
	return "", false
}

// writeError sends err, if it is not nil, as an error response.
func (p *Platform) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	var e *apiError
	if !errors.As(err, &e) {
		p.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		e = &apiError{status: http.StatusInternalServerError, ID: "internal_server_error", Message: "Internal server error."}
	}
	if err := reply(w, r, e.status, e); err != nil {
		p.log.Debug("cannot send response", "method", r.Method, "path", r.URL.Path, "error", err)
	}
}

// reply sends v as JSON, or 304 if the client's copy is current.
func reply(w http.ResponseWriter, r *http.Request, status int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // signed URLs are full of ampersands
	if err := enc.Encode(v); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if r.Method == http.MethodGet && status == http.StatusOK {
		sum := sha256.Sum256(body.Bytes())
		etag := `"` + hex.EncodeToString(sum[:16]) + `"`
		h.Set("ETag", etag)
		if matches(r.Header.Values("If-None-Match"), etag) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		var packed bytes.Buffer
		zw, release := compressorsOf(r.Context()).get(&packed)
		defer release()
		if _, err := zw.Write(body.Bytes()); err != nil {
			return err
		}
		if err := zw.Close(); err != nil {
			return err
		}
		body = packed
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, err := w.Write(body.Bytes())
	return err
}

func matches(ifNoneMatch []string, etag string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(ifNoneMatch, ","), ","), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "*" || strings.TrimPrefix(s, "W/") == etag
	})
}

func acceptsGzip(accept []string) bool {
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(params), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !ok || err != nil || weight > 0
	}
	return false
}

// decode reads a JSON object. A missing body is treated as an empty object.
func decode(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &apiError{status: http.StatusRequestEntityTooLarge, ID: "bad_request", Message: "Request body is too large."}
	case err != nil:
		return badRequest("Unable to read the request body.")
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil
	}
	if !json.Valid(body) || body[0] != '{' {
		return badRequest("Unable to parse the JSON request.")
	}
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, into); {
	case errors.As(err, &wrongType):
		return invalid("Invalid type for " + strings.ReplaceAll(wrongType.Field, ".", ":") + ".")
	case err != nil:
		return badRequest("Unable to parse the JSON request.")
	}
	return nil
}

// formatTime formats a time as the API does, in whole seconds.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
