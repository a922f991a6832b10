package herokubuild_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

const (
	s3User     = "not-a-real-user"
	s3Password = "not-a-real-password"
	s3Bucket   = "/sources"
)

// s3 is a server of MinIO's on loopback.
type s3 struct{ address string }

func startS3(t *testing.T) *s3 {
	t.Helper()
	path, err := exec.LookPath("minio")
	if err != nil {
		t.Skip(`minio is not on the PATH: "bash .ci/run s3" installs it and runs this test`)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &s3{address: l.Addr().String()}
	require.NoError(t, l.Close())

	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "server", "--quiet", "--address", s.address, t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_CI_CD=1", "MINIO_BROWSER=off", "MINIO_ROOT_USER="+s3User, "MINIO_ROOT_PASSWORD="+s3Password, "HOME="+t.TempDir())
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Log(log.String())
		}
	})
	// It is ready once it makes the bucket, which only a signed request may.
	for deadline := time.Now().Add(time.Minute); ; {
		resp, err := http.DefaultClient.Do(must(http.NewRequestWithContext(t.Context(), http.MethodPut, s.v4(http.MethodPut, s3Bucket, time.Hour), nil)))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("minio has ended: %v\n%s", err, &log)
		case <-time.After(50 * time.Millisecond):
		}
		require.True(t, time.Now().Before(deadline), "minio does not respond")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// v2 signs a URL as signature version 2 does, which Heroku's are.
func (s *s3) v2(method, path string, ttl time.Duration) string {
	expires := strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)
	sum := mac(sha1.New, []byte(s3Password), method+"\n\n\n"+expires+"\n"+path)
	return "http://" + s.address + path + "?" + url.Values{
		"AWSAccessKeyId": {s3User}, "Expires": {expires}, "Signature": {base64.StdEncoding.EncodeToString(sum)},
	}.Encode()
}

// v4 signs a URL as signature version 4 does.
func (s *s3) v4(method, path string, ttl time.Duration) string {
	at := time.Now().UTC()
	if ttl < 0 {
		// An expired one is one that was signed long ago.
		at, ttl = at.Add(2*ttl), -ttl
	}
	day, stamp := at.Format("20060102"), at.Format("20060102T150405Z")
	scope := day + "/us-east-1/s3/aws4_request"
	query := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {s3User + "/" + scope}, "X-Amz-Date": {stamp},
		"X-Amz-Expires": {strconv.Itoa(int(ttl.Seconds()))}, "X-Amz-SignedHeaders": {"host"},
	}
	canonical := strings.Join([]string{method, path, query.Encode(), "host:" + s.address, "", "host", "UNSIGNED-PAYLOAD"}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + s3Password)
	for _, part := range []string{day, "us-east-1", "s3", "aws4_request"} {
		key = mac(sha256.New, key, part)
	}
	signature := mac(sha256.New, key, strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hex.EncodeToString(sum[:])}, "\n"))
	return "http://" + s.address + path + "?" + query.Encode() + "&X-Amz-Signature=" + hex.EncodeToString(signature)
}

// A real S3 server takes the uploads, and its refusals are understood.
func TestUploadToS3(t *testing.T) {
	t.Parallel()
	server := startS3(t)
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), noRetry())
	require.NoError(t, err)
	dir := tree(t, file{"main.go", "package main\n"}, file{"big", random(20_000_000)}, file{"é/日本", "x"})
	archive := pack(t, dir)
	want := contents(t, archive)
	for name, sign := range map[string]func(method, path string, ttl time.Duration) string{"version 2": server.v2, "version 4": server.v4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := s3Bucket + "/" + strings.ReplaceAll(name, " ", "-") + ".tgz"
			source := func(ttl time.Duration) *herokubuild.Source { return decodeSource(t, sign(http.MethodPut, path, ttl)) }
			var last int64
			require.NoError(t, client.Sources.Put(t.Context(), source(time.Hour), archive, &herokubuild.UploadOptions{
				OnProgress: func(done, total int64) { last = done; assert.Equal(t, archive.Size, total) },
			}))
			assert.Equal(t, archive.Size, last)

			resp, err := http.Get(sign(http.MethodGet, path, time.Hour))
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			require.Equal(t, http.StatusOK, resp.StatusCode, string(got[:min(len(got), 500)]))
			assert.True(t, bytes.Equal(want, got), "byte for byte")
			assert.Equal(t, fmt.Sprint(archive.Size), resp.Header.Get("Content-Length"))

			fetched, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(sign(http.MethodGet, path, time.Hour)), nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = fetched.Close() })
			assert.Equal(t, archive.Checksum(), fetched.Checksum())

			var refused *herokubuild.StorageError
			err = client.Sources.Put(t.Context(), source(-time.Hour), archive, nil)
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, "AccessDenied", refused.Code, "expired")
			err = client.Sources.Put(t.Context(), decodeSource(t, sign(http.MethodGet, path, time.Hour)), archive, nil)
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, herokubuild.ErrForbidden)
			assert.Equal(t, "SignatureDoesNotMatch", refused.Code)
			assert.NotContains(t, err.Error(), "Signature=")
		})
	}
}
