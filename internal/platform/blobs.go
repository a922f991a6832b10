package platform

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // an S3 ETag is an MD5 sum; it protects nothing
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxObject is the maximum size of an S3 PUT.
const maxObject = 5 << 30

// blobStore keeps objects in files, indexed by path. As a handler it is as strict
// about presigned URLs as S3.
type blobStore struct {
	dir    string
	signer *signer

	mu      sync.Mutex
	objects map[string]object
}

type object struct {
	file   string
	size   int64
	md5    string
	sha256 string
	stored time.Time
}

func newBlobStore(dir string, s *signer) *blobStore {
	return &blobStore{dir: dir, signer: s, objects: map[string]object{}}
}

func sourceKey(id string) string { return "/heroku-sources-production/heroku.com/" + id }
func slugKey(id string) string   { return "/heroku-slugs-production/heroku.com/v1/" + id }

func (b *blobStore) get(key string) (object, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	return o, ok
}

// put stores what fill writes. An object is only visible once it is complete.
func (b *blobStore) put(key string, fill func(io.Writer) error) (object, error) {
	f, err := os.CreateTemp(b.dir, "object-")
	if err != nil {
		return object{}, err
	}
	m, s := md5.New(), sha256.New() //nolint:gosec // see the import
	n := &counter{}
	err = errors.Join(fill(io.MultiWriter(f, m, s, n)), f.Close())
	if err != nil {
		return object{}, errors.Join(err, os.Remove(f.Name()))
	}
	o := object{
		file:   f.Name(),
		size:   n.n,
		md5:    hex.EncodeToString(m.Sum(nil)),
		sha256: hex.EncodeToString(s.Sum(nil)),
		stored: time.Now(),
	}
	b.mu.Lock()
	old, replaced := b.objects[key]
	b.objects[key] = o
	b.mu.Unlock()
	if replaced {
		_ = os.Remove(old.file) // if it is still open, Close removes it
	}
	return o, nil
}

// remove removes an object, if it exists.
func (b *blobStore) remove(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.objects[key]; ok {
		delete(b.objects, key)
		_ = os.Remove(o.file) // if it is still open, Close removes it
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// s3Error is the body of an error response.
type s3Error struct {
	XMLName           xml.Name `xml:"Error"`
	Code              string
	Message           string
	AWSAccessKeyID    string `xml:"AWSAccessKeyId,omitempty"`
	StringToSign      string `xml:",omitempty"`
	SignatureProvided string `xml:",omitempty"`
	Key               string `xml:",omitempty"`
	Expires           string `xml:",omitempty"`
	ServerTime        string `xml:",omitempty"`
	RequestID         string `xml:"RequestId"`
	HostID            string `xml:"HostId"`

	status int
}

func setS3Headers(h http.Header) {
	h.Set("Server", "AmazonS3")
	h.Set("X-Amz-Request-Id", strings.ToUpper(newUUID()[:8]))
	h.Set("X-Amz-Id-2", newUUID())
}

func (b *blobStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setS3Headers(w.Header())
	if e := b.check(r); e != nil {
		writeS3Error(w, e)
		return
	}
	switch r.Method {
	case http.MethodPut:
		b.servePut(w, r)
	case http.MethodGet, http.MethodHead:
		b.serveGet(w, r)
	default:
		writeS3Error(w, &s3Error{status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", Message: "The specified method is not allowed against this resource."})
	}
}

// check returns an error if a request is invalid, whatever the object.
func (b *blobStore) check(r *http.Request) *s3Error {
	q := r.URL.Query()
	if len(r.Header.Values("Authorization")) > 0 {
		return &s3Error{status: http.StatusBadRequest, Code: "InvalidArgument", Message: "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"}
	}
	if r.Method == http.MethodPut && (r.ContentLength < 0 || r.Header.Get("Content-Length") == "") {
		return &s3Error{status: http.StatusLengthRequired, Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header."}
	}
	expires, signature := q.Get("Expires"), q.Get("Signature")
	if q.Get("AWSAccessKeyId") == "" || expires == "" || signature == "" {
		return &s3Error{status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
	}
	if q.Get("AWSAccessKeyId") != b.signer.accessKey {
		return &s3Error{status: http.StatusForbidden, Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records.", AWSAccessKeyID: q.Get("AWSAccessKeyId")}
	}
	at, err := strconv.ParseInt(expires, 10, 64)
	if err != nil {
		return &s3Error{status: http.StatusForbidden, Code: "AccessDenied", Message: "Invalid date (should be seconds since epoch): " + expires}
	}
	if now := time.Now(); !now.Before(time.Unix(at, 0)) {
		return &s3Error{status: http.StatusForbidden, Code: "AccessDenied", Message: "Request has expired", Expires: time.Unix(at, 0).UTC().Format(time.RFC3339), ServerTime: now.UTC().Format(time.RFC3339)}
	}
	text := blobStringToSign(r.Method, r.Header, expires, r.URL.EscapedPath())
	if !hmac.Equal([]byte(signature), []byte(b.signer.blobSignature(text))) {
		return &s3Error{status: http.StatusForbidden, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided. Check your key and signing method.", AWSAccessKeyID: b.signer.accessKey, StringToSign: text, SignatureProvided: signature}
	}
	return nil
}

func (b *blobStore) servePut(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > maxObject {
		writeS3Error(w, &s3Error{status: http.StatusBadRequest, Code: "EntityTooLarge", Message: "Your proposed upload exceeds the maximum allowed size"})
		return
	}
	var short bool
	o, err := b.put(r.URL.Path, func(w io.Writer) error {
		n, err := io.Copy(w, r.Body)
		short = n < r.ContentLength
		if err == nil && short {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	switch {
	case err != nil && short:
		writeS3Error(w, &s3Error{status: http.StatusBadRequest, Code: "IncompleteBody", Message: "You did not provide the number of bytes specified by the Content-Length HTTP header"})
	case err != nil:
		writeS3Error(w, &s3Error{status: http.StatusInternalServerError, Code: "InternalError", Message: "We encountered an internal error. Please try again."})
	default:
		w.Header().Set("ETag", `"`+o.md5+`"`)
		w.WriteHeader(http.StatusOK)
	}
}

func (b *blobStore) serveGet(w http.ResponseWriter, r *http.Request) {
	f, o, err := b.open(r.URL.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		writeS3Error(w, &s3Error{status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist.", Key: strings.TrimPrefix(r.URL.Path, "/")})
		return
	case err != nil:
		writeS3Error(w, &s3Error{status: http.StatusInternalServerError, Code: "InternalError", Message: "We encountered an internal error. Please try again."})
		return
	}
	defer f.Close() //nolint:errcheck // only read
	w.Header().Set("ETag", `"`+o.md5+`"`)
	w.Header().Set("Content-Type", "binary/octet-stream")
	http.ServeContent(w, r, "", o.stored, f)
}

func (b *blobStore) open(key string) (*os.File, object, error) {
	b.mu.Lock()
	defer b.mu.Unlock() // so that a PUT cannot remove the file before it is open
	o, ok := b.objects[key]
	if !ok {
		return nil, object{}, fmt.Errorf("%s: %w", filepath.Base(key), os.ErrNotExist)
	}
	f, err := os.Open(o.file)
	return f, o, err
}

func writeS3Error(w http.ResponseWriter, e *s3Error) {
	e.RequestID, e.HostID = w.Header().Get("X-Amz-Request-Id"), w.Header().Get("X-Amz-Id-2")
	body, err := xml.Marshal(e)
	if err != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	_, _ = io.WriteString(w, xml.Header+string(body))
}
