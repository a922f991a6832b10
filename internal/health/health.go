// Package health requests a URL until the response is a success.
package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

const (
	// attemptTimeout bounds one request. A dyno may need most of it to boot.
	attemptTimeout = 30 * time.Second
	// firstDelay and maxDelay are the first and the longest delay between requests.
	firstDelay = time.Second
	maxDelay   = 5 * time.Second
)

// Check is how a URL is requested.
type Check struct {
	Transport http.RoundTripper
	UserAgent string
	// Timeout is how long it may take until the response is a success.
	Timeout time.Duration
}

// Failure reports that no response was a success in time.
type Failure struct {
	// StatusCode is the status of the last response, or 0 if there was none.
	StatusCode int
	// Err is why the last request had no response.
	Err error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("status %d, %v", f.StatusCode, f.Err) }

// Poll requests a URL until the response has a 2xx status. Redirects are not followed,
// because the page of a login responds with 200, too. The error is a [*Failure], or that of
// the context.
func (c Check) Poll(ctx context.Context, url string) error {
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	failure := &Failure{Err: errors.New("no response")}
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		status, err := c.request(limited, url)
		if err == nil && status/100 == 2 {
			return nil
		}
		// The error of a request that the time limit has ended says nothing about the app.
		if limited.Err() == nil {
			failure = &Failure{StatusCode: status, Err: err}
		}
		if ioutil.Sleep(limited, delay) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return failure
	}
}

// errNoResponse is why an attempt that took too long has no response.
var errNoResponse = fmt.Errorf("no response within %v", attemptTimeout)

// request sends one request, and returns the status of the response.
func (c Check) request(ctx context.Context, url string) (status int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTimeout, errNoResponse)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", c.UserAgent)
	// A client would follow the Location of a redirect, or fail if that is not a URL.
	resp, err := c.Transport.RoundTrip(req)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errNoResponse):
		return 0, errNoResponse
	case err != nil:
		return 0, err
	case resp == nil:
		return 0, errors.New("the transport returned neither a response nor an error")
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	return resp.StatusCode, nil
}
