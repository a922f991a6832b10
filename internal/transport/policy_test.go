package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errDial  = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

func status(code int) *http.Response { return &http.Response{StatusCode: code} }

func asURLError(err error) error {
	return &url.Error{Op: "Get", URL: "https://example.com/", Err: err}
}

// The retry decision: how an attempt ended, whether it is repeated for an idempotent
// request and for another one, and whether the host may have acted on it.
func TestRetryDecision(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		resp                  *http.Response
		err                   error
		outcome               outcome
		idempotent, mutating  bool
		mayHaveActed, success bool
	}{
		"200":                  {resp: status(200), outcome: succeeded, success: true},
		"299":                  {resp: status(299), outcome: succeeded, success: true},
		"0":                    {resp: status(0), outcome: rejected, mayHaveActed: true},
		"101":                  {resp: status(101), outcome: rejected, mayHaveActed: true},
		"302":                  {resp: status(302), outcome: rejected},
		"404":                  {resp: status(404), outcome: rejected},
		"429":                  {resp: status(429), outcome: rateLimited, idempotent: true, mutating: true},
		"500":                  {resp: status(500), outcome: serverFailed, idempotent: true, mayHaveActed: true},
		"501":                  {resp: status(501), outcome: rejected, mayHaveActed: true},
		"503":                  {resp: status(503), outcome: serverFailed, idempotent: true, mayHaveActed: true},
		"999":                  {resp: status(999), outcome: serverFailed, idempotent: true, mayHaveActed: true},
		"cannot connect":       {err: asURLError(errDial), outcome: notSent, idempotent: true, mutating: true},
		"proxy refuses":        {err: &net.OpError{Op: "proxyconnect", Err: errReset}, outcome: notSent, idempotent: true, mutating: true},
		"connection lost":      {err: asURLError(errReset), outcome: lost, idempotent: true, mayHaveActed: true},
		"cut short":            {err: io.ErrUnexpectedEOF, outcome: lost, idempotent: true, mayHaveActed: true},
		"attempt timeout":      {err: fmt.Errorf("%w for 1m0s", ErrAttemptTimeout), outcome: lost, idempotent: true, mayHaveActed: true},
		"stalled upload":       {err: ErrUploadStalled, outcome: lost, idempotent: true, mayHaveActed: true},
		"early success":        {err: ErrEarlySuccess, outcome: lost, idempotent: true, mayHaveActed: true},
		"idle":                 {err: ErrIdle, outcome: lost, idempotent: true, mayHaveActed: true},
		"too large":            {err: asURLError(ErrTooLarge), outcome: permanent, mayHaveActed: true},
		"redirect refused":     {err: asURLError(ErrRedirect), outcome: permanent, mayHaveActed: true},
		"permanent body error": {err: asURLError(Permanent(io.ErrUnexpectedEOF)), outcome: permanent, mayHaveActed: true},
		"bad certificate":      {err: asURLError(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), outcome: permanent, mayHaveActed: true},
		"unsupported scheme":   {err: asURLError(errors.New("unsupported protocol scheme")), outcome: permanent, mayHaveActed: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := new(Request).classify(t.Context(), tt.resp, tt.err)
			assert.Equal(t, tt.outcome, end)
			assert.Equal(t, tt.idempotent, end.retryable(true))
			assert.Equal(t, tt.mutating, end.retryable(false))
			if !tt.success {
				assert.Equal(t, tt.mayHaveActed, mayHaveActed(tt.resp, tt.err))
			}
		})
	}
}

func TestNothingIsRetriedAfterTheContextEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := new(Request).classify(ctx, nil, errReset)
	assert.Equal(t, canceled, end)
	assert.False(t, end.retryable(true))
}

func TestSuccessIsWhatTheRequestAccepts(t *testing.T) {
	t.Parallel()
	r := &Request{Success: []int{200, 206}}
	for code, want := range map[int]outcome{200: succeeded, 206: succeeded, 204: rejected, 304: rejected} {
		assert.Equal(t, want, r.classify(t.Context(), status(code), nil), code)
	}
}

func TestPermanentKeepsTheError(t *testing.T) {
	t.Parallel()
	err := Permanent(fmt.Errorf("disk: %w", io.ErrClosedPipe))
	require.EqualError(t, err, "disk: "+io.ErrClosedPipe.Error())
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestWaitDoublesUpToItsMaximum(t *testing.T) {
	t.Parallel()
	p := Policy{MaxAttempts: 5, MinWait: 500 * time.Millisecond, MaxWait: 30 * time.Second, MaxRetryAfter: 2 * time.Minute}
	for n, full := range map[int]time.Duration{
		1: 500 * time.Millisecond, 2: time.Second, 3: 2 * time.Second, 6: 16 * time.Second, 7: 30 * time.Second,
		31: 30 * time.Second, 32: 30 * time.Second, 33: 30 * time.Second, 1000: 30 * time.Second, math.MaxInt: 30 * time.Second,
	} {
		for range 50 {
			wait := p.Wait(n)
			assert.LessOrEqual(t, wait, full, n)
			assert.GreaterOrEqual(t, wait, full/2-time.Nanosecond, n)
		}
	}
}

func TestNextAttempt(t *testing.T) {
	t.Parallel()
	const forever = time.Duration(math.MaxInt64)
	p := Policy{MaxAttempts: 3, MinWait: time.Second, MaxWait: time.Second, MaxRetryAfter: time.Minute}
	for name, tt := range map[string]struct {
		n                    int
		end                  outcome
		idempotent           bool
		retryAfter, deadline time.Duration
		again                bool
		least, most          time.Duration
	}{
		"first":                        {n: 1, end: lost, idempotent: true, deadline: forever, again: true, least: time.Second / 2, most: time.Second},
		"last":                         {n: 3, end: lost, idempotent: true, deadline: forever},
		"not safe to repeat":           {n: 1, end: lost, deadline: forever},
		"rate limited":                 {n: 1, end: rateLimited, deadline: forever, again: true, least: time.Second / 2, most: time.Second},
		"Retry-After":                  {n: 1, end: rateLimited, retryAfter: 7 * time.Second, deadline: forever, again: true, least: 7 * time.Second, most: 7 * time.Second},
		"Retry-After is capped":        {n: 1, end: rateLimited, retryAfter: time.Hour, deadline: forever, again: true, least: time.Minute, most: time.Minute},
		"Retry-After, deadline before": {n: 1, end: rateLimited, retryAfter: 7 * time.Second, deadline: 6 * time.Second},
		"backoff, deadline before":     {n: 1, end: serverFailed, idempotent: true, deadline: time.Millisecond, again: true, least: time.Second / 2, most: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait, again := p.next(tt.n, tt.end, tt.idempotent, tt.retryAfter, tt.deadline)
			assert.Equal(t, tt.again, again)
			if again {
				assert.GreaterOrEqual(t, wait, tt.least-time.Nanosecond)
				assert.LessOrEqual(t, wait, tt.most)
			}
		})
	}
}

func TestRetryAfterForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration, layout string) string { return now.Add(d).Format(layout) }
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "1.5": 1500 * time.Millisecond, " 5 ": 5 * time.Second, "0": 0, "-30": 0, "-Inf": 0,
		"86401": 24 * time.Hour, "Inf": 24 * time.Hour, "99999999999": 24 * time.Hour,
		date(9*time.Second, http.TimeFormat):                                           9 * time.Second,
		date(-time.Hour, http.TimeFormat):                                              0,
		date(90*time.Hour, http.TimeFormat):                                            24 * time.Hour,
		now.Add(8 * time.Second).In(time.FixedZone("CET", 3600)).Format(time.RFC1123Z): 8 * time.Second,
		date(6*time.Second, time.RFC3339):                                              6 * time.Second,
		date(5*time.Second, time.ANSIC):                                                5 * time.Second,
		strconv.FormatInt(now.Unix()+11, 10):                                           11 * time.Second,
		strconv.FormatInt(now.Unix()-11, 10):                                           0,
	} {
		got, ok := RetryAfter(value, now)
		assert.True(t, ok, value)
		assert.Equal(t, want, got, value)
	}
	for _, value := range []string{"", " ", "NaN", "tomorrow", "1e999", "\x00"} {
		_, ok := RetryAfter(value, now)
		assert.False(t, ok, value)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "7", "1e300", "NaN", "0x1p-2", "1893456000", "Wed, 21 Oct 2026 07:28:00 GMT", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait, ok := RetryAfter(value, time.Now())
		assert.GreaterOrEqual(t, wait, time.Duration(0))
		assert.LessOrEqual(t, wait, maxRetryAfter)
		assert.True(t, ok || wait == 0)
	})
}
