package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const archive = "the whole archive"

var errReset = errors.New("connection reset")

// step is one response of a host, or its error.
type step struct {
	resp *http.Response
	err  error
}

// host makes responses one after another; further requests get the last one.
type host struct {
	steps []step
	from  []int64
	// renews is how many more URLs there are.
	renews int
	closed int
}

func (h *host) dial(_ context.Context, from int64) (*http.Response, error) {
	s := h.steps[min(len(h.from), len(h.steps)-1)]
	h.from = append(h.from, from)
	if s.resp != nil {
		s.resp.Body = &countedCloser{Reader: s.resp.Body, closed: &h.closed}
	}
	return s.resp, s.err
}

func (h *host) renew(context.Context) (bool, error) {
	h.renews--
	return h.renews >= 0, nil
}

type countedCloser struct {
	io.Reader
	closed *int
}

func (c *countedCloser) Close() error {
	*c.closed++
	return nil
}

func whole(body io.Reader) step {
	resp := response("", body)
	resp.ContentLength = int64(len(archive))
	return step{resp: resp}
}

func part(from int, body io.Reader) step {
	resp := response("", body)
	resp.StatusCode = http.StatusPartialContent
	resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(archive)-1, len(archive)))
	return step{resp: resp}
}

func text(s string) io.Reader { return strings.NewReader(s) }

// cutOff is a body that breaks after a text.
func cutOff(s string) io.Reader { return io.MultiReader(text(s), iotest.ErrReader(errReset)) }

func refusal(status int) step {
	return step{err: &Error{Kind: Refused, Status: status, Err: fmt.Errorf("status %d", status)}}
}

func (h *host) config() Config {
	sum := sha256.Sum256([]byte(archive))
	return Config{
		Dial: h.dial, Renew: h.renew, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(archive)),
		MaxAttempts: 3, Backoff: func(n int) time.Duration { return time.Duration(n) * time.Second },
	}
}

func readAll(ctx context.Context, cfg Config) (string, error) {
	r, err := Open(ctx, cfg)
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(r)
	return string(got), err
}

func TestReaderCompletesAnArchive(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		steps  []step
		renews int
		from   []int64
		took   time.Duration
	}{
		"in one response":              {steps: []step{whole(text(archive))}, from: []int64{0}},
		"broken at the very end":       {steps: []step{whole(cutOff(archive))}, from: []int64{0}},
		"resumed":                      {steps: []step{whole(cutOff(archive[:4])), part(4, text(archive[4:]))}, from: []int64{0, 4}, took: time.Second},
		"resumed without ranges":       {steps: []step{whole(cutOff(archive[:4])), whole(text(archive))}, from: []int64{0, 4}, took: time.Second},
		"resumed twice":                {steps: []step{whole(cutOff(archive[:4])), part(4, cutOff(archive[4:6])), part(6, text(archive[6:]))}, from: []int64{0, 4, 6}, took: 3 * time.Second},
		"a refused range":              {steps: []step{whole(cutOff(archive[:4])), refusal(416), whole(text(archive))}, from: []int64{0, 4, 0}, took: time.Second},
		"another range":                {steps: []step{whole(cutOff(archive[:4])), part(2, text(archive[2:])), whole(text(archive))}, from: []int64{0, 4, 0}, took: time.Second},
		"a renewed URL":                {steps: []step{refusal(403), whole(text(archive))}, renews: 1, from: []int64{0, 0}},
		"a URL renewed in the middle":  {steps: []step{whole(cutOff(archive[:4])), refusal(404), part(4, text(archive[4:]))}, renews: 1, from: []int64{0, 4, 4}, took: time.Second},
		"a renewed URL without ranges": {steps: []step{whole(cutOff(archive[:4])), refusal(403), refusal(416), whole(text(archive))}, renews: 1, from: []int64{0, 4, 4, 0}, took: time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &host{steps: tt.steps, renews: tt.renews}
				started := time.Now()
				got, err := readAll(t.Context(), h.config())
				require.NoError(t, err)
				assert.Equal(t, archive, got)
				assert.Equal(t, tt.from, h.from)
				assert.Equal(t, tt.took, time.Since(started))
				opened := 0
				for _, s := range tt.steps {
					if s.resp != nil {
						opened++
					}
				}
				assert.Equal(t, opened, h.closed, "every body is closed")
			})
		})
	}
}

func TestReaderFails(t *testing.T) {
	t.Parallel()
	other := strings.ToUpper(archive)
	tests := map[string]struct {
		steps        []step
		renews       int
		skipChecksum bool
		size         int64
		want         Kind
		status       int
		attempts     int
		requests     int
	}{
		"broken again and again":            {steps: []step{whole(cutOff(""))}, want: Failed, attempts: 3, requests: 3},
		"refused":                           {steps: []step{refusal(500)}, want: Refused, status: 500, requests: 1},
		"no response":                       {steps: []step{{err: errReset}}, want: Refused, requests: 1},
		"a range refused at the start":      {steps: []step{refusal(416)}, want: Refused, status: 416, requests: 1},
		"expired, and no other URL":         {steps: []step{refusal(403)}, want: Refused, status: 403, requests: 1},
		"expired again":                     {steps: []step{refusal(403)}, renews: 5, want: Refused, status: 403, requests: 2},
		"an encoding that is not supported": {steps: []step{{resp: response("br", text(archive))}}, want: Unusable, status: 200, attempts: 1, requests: 1},
		"another checksum":                  {steps: []step{whole(text(other))}, want: WrongChecksum, attempts: 1, requests: 1},
		"another size":                      {steps: []step{whole(text(archive))}, skipChecksum: true, size: 20, want: WrongSize, attempts: 1, requests: 1},
		"more than its size":                {steps: []step{whole(text(archive))}, skipChecksum: true, size: 3, want: Changed, attempts: 1, requests: 1},
		"another beginning later":           {steps: []step{whole(cutOff(archive[:4])), whole(text(other))}, want: Changed, attempts: 1, requests: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &host{steps: tt.steps, renews: tt.renews}
				cfg := h.config()
				if tt.skipChecksum {
					cfg.SHA256, cfg.Size = "", tt.size
				}
				_, err := readAll(t.Context(), cfg)
				e := requireKind(t, err, tt.want)
				assert.Equal(t, tt.status, e.Status)
				assert.Equal(t, tt.attempts, e.Attempts)
				assert.Len(t, h.from, tt.requests)
			})
		})
	}
}

func TestReaderReportsTheChecksumThatItFound(t *testing.T) {
	t.Parallel()
	h := &host{steps: []step{whole(text(archive))}}
	cfg := h.config()
	found := cfg.SHA256
	cfg.SHA256 = strings.Repeat("0", 64)
	got, err := readAll(t.Context(), cfg)
	assert.Equal(t, archive, got)
	e := requireKind(t, err, WrongChecksum)
	assert.Equal(t, found, e.SHA256)
	assert.EqualValues(t, len(archive), e.Received)
}

func TestReaderReturnsTheErrorOfRenew(t *testing.T) {
	t.Parallel()
	errGone := errors.New("destroyed")
	h := &host{steps: []step{refusal(403)}}
	cfg := h.config()
	cfg.Renew = func(context.Context) (bool, error) { return false, errGone }
	_, err := readAll(t.Context(), cfg)
	requireKind(t, err, Refused)
	require.ErrorIs(t, err, errGone)
}

// io.EOF means that the archive is complete, whatever Dial returns.
func TestReaderDoesNotPassOnTheEOFOfDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{steps: []step{whole(cutOff(archive[:4])), {err: io.EOF}}}
		r, err := Open(t.Context(), h.config())
		require.NoError(t, err)
		for err == nil {
			_, err = r.Read(make([]byte, 10))
		}
		requireKind(t, err, Refused)
	})
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errStopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(500*time.Millisecond, func() { cancel(errStopped) })
		h := &host{steps: []step{whole(cutOff(archive[:4]))}}
		started := time.Now()
		got, err := readAll(ctx, h.config())
		assert.Equal(t, archive[:4], got)
		requireKind(t, err, Canceled)
		require.ErrorIs(t, err, errStopped)
		assert.Equal(t, 500*time.Millisecond, time.Since(started), "the wait for the next connection ends")
		assert.Len(t, h.from, 1)
	})
}

func TestReaderReportsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{steps: []step{{resp: response("", text(archive[:4]))}, part(4, text(archive[4:]))}}
		cfg := h.config()
		type report struct{ done, total int64 }
		var reports []report
		cfg.OnProgress = func(done, total int64) { reports = append(reports, report{done: done, total: total}) }
		got, err := readAll(t.Context(), cfg)
		require.NoError(t, err)
		assert.Equal(t, archive, got)
		assert.Equal(t, []report{{done: 4, total: -1}, {done: 17, total: 17}}, reports)
	})
}

func TestReaderReturnsItsErrorAgain(t *testing.T) {
	t.Parallel()
	h := &host{steps: []step{whole(text(archive))}}
	r, err := Open(t.Context(), h.config())
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.NoError(t, err)
	n, err := r.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.Equal(t, io.EOF, err)
	n, err = r.Read(nil)
	assert.Zero(t, n)
	require.NoError(t, err)
}
