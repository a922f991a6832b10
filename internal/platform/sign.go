package platform

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signer creates and verifies the signed URLs of the blob store and of the stream
// host. Its key is only kept in memory.
type signer struct {
	accessKey string
	secret    []byte
}

func newSigner() *signer {
	return &signer{accessKey: "AKIA" + rand.Text()[:16], secret: []byte(rand.Text())}
}

func (s *signer) mac(text string) []byte {
	m := hmac.New(sha256.New, s.secret)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// blobStringToSign returns the string to sign of S3's signature version 2. It
// includes the Content-Type, so an upload with that header is rejected.
func blobStringToSign(method string, h http.Header, expires, path string) string {
	var amz []string
	for k, v := range h {
		if k = strings.ToLower(k); strings.HasPrefix(k, "x-amz-") {
			amz = append(amz, k+":"+strings.Join(v, ",")+"\n")
		}
	}
	slices.Sort(amz)
	return method + "\n" + h.Get("Content-MD5") + "\n" + h.Get("Content-Type") + "\n" + expires + "\n" + strings.Join(amz, "") + path
}

func (s *signer) blobSignature(stringToSign string) string {
	return base64.StdEncoding.EncodeToString(s.mac(stringToSign))
}

func (s *signer) blobURL(base, method, path string, ttl time.Duration) string {
	// The time is rounded up, so that a URL is valid for at least ttl.
	expires := strconv.FormatInt(time.Now().Add(ttl).Add(time.Second-1).Unix(), 10)
	q := url.Values{
		"AWSAccessKeyId": {s.accessKey},
		"Expires":        {expires},
		"Signature":      {s.blobSignature(blobStringToSign(method, nil, expires, path))},
	}
	return base + path + "?" + q.Encode()
}

const amzTime = "20060102T150405Z"

// streamSignature signs the path and the query without the signature, as
// version 4 does.
func (s *signer) streamSignature(path string, query url.Values) string {
	rest := maps.Clone(query)
	rest.Del("X-Amz-Signature")
	return hex.EncodeToString(s.mac("stream\n" + path + "\n" + rest.Encode()))
}

func (s *signer) streamURL(base, path string, ttl time.Duration) string {
	now := time.Now().UTC()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	if ttl < 0 {
		seconds = -1
	}
	q := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential":    {s.accessKey + "/" + now.Format("20060102") + "/us-east-1/s3/aws4_request"},
		"X-Amz-Date":          {now.Format(amzTime)},
		"X-Amz-Expires":       {strconv.FormatInt(seconds, 10)},
		"X-Amz-SignedHeaders": {"host"},
	}
	q.Set("X-Amz-Signature", s.streamSignature(path, q))
	return base + path + "?" + q.Encode()
}

func (s *signer) streamValid(u *url.URL) bool {
	q := u.Query()
	if !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(s.streamSignature(u.Path, q))) {
		return false
	}
	from, err := time.Parse(amzTime, q.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	seconds, err := strconv.ParseInt(q.Get("X-Amz-Expires"), 10, 64)
	// A second is added because the date is truncated to whole seconds.
	return err == nil && seconds >= 0 && time.Since(from) < time.Duration(seconds+1)*time.Second
}
