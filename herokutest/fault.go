package herokutest

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// The requests of a deploy, as patterns for faults. A pattern is one of [http.ServeMux]:
// a method and the path of the API's reference, whose wildcards are in braces. An app may
// be given by its name, such as "POST /apps/my-app/builds". The hosts "storage" and "stream"
// stand for those of archives and of output.
const (
	AnyRequest    = "/"
	GetApp        = "GET /apps/{app}"
	CreateSource  = "POST /sources"
	Upload        = "PUT storage/"
	CreateBuild   = "POST /apps/{app}/builds"
	ListBuilds    = "GET /apps/{app}/builds"
	GetBuild      = "GET /apps/{app}/builds/{build}"
	CancelBuild   = "DELETE /apps/{app}/builds/{build}"
	CreateSlug    = "POST /apps/{app}/slugs"
	GetSlug       = "GET /apps/{app}/slugs/{slug}"
	Download      = "GET storage/"
	CreateRelease = "POST /apps/{app}/releases"
	GetRelease    = "GET /apps/{app}/releases/{release}"
	ListReleases  = "GET /apps/{app}/releases"
	ReadOutput    = "GET stream/"
)

// Fault is what happens to a request. The functions that return one say what; it happens to
// the next request that matches its pattern, unless [Fault.Times], [Fault.Always] or
// [Fault.After] change that.
type Fault struct {
	text    string
	pattern string
	times   int
	after   int
	fault   platform.Fault
	random  platform.FaultFunc
}

// String describes the fault, such as "lose the response of POST /apps/{app}/builds".
func (f Fault) String() string {
	text := f.text
	if f.after > 0 {
		text += fmt.Sprintf(" after %d others", f.after)
	}
	switch f.times {
	case 1, always:
		return text
	default:
		return fmt.Sprintf("%s, %d times", text, f.times)
	}
}

// always is the number of times of a fault without an end.
const always = math.MaxInt

// Times returns the fault for the next n requests that match instead of one. n must be
// positive.
func (f Fault) Times(n int) Fault {
	f.times = n
	return f
}

// Always returns the fault for all requests that match. It need not happen.
func (f Fault) Always() Fault { return f.Times(always) }

// After returns the fault for requests after the first n that match.
func (f Fault) After(n int) Fault {
	f.after = n
	return f
}

func newFault(pattern, text string, fault platform.Fault) Fault {
	return Fault{text: text + " of " + pattern, pattern: pattern, times: 1, fault: fault}
}

// LoseResponse handles the request and resets the connection without a response.
func LoseResponse(pattern string) Fault {
	return newFault(pattern, "lose the response", platform.Fault{Lost: true})
}

// LoseRequest resets the connection without handling the request.
func LoseRequest(pattern string) Fault {
	return newFault(pattern, "lose the request", platform.Fault{CutRequestAfter: 1})
}

// RespondWith responds with an error status without handling the request.
func RespondWith(pattern string, status int) Fault {
	return newFault(pattern, "respond with "+strconv.Itoa(status)+" instead", platform.Fault{Status: status})
}

// HandleAndRespondWith handles the request and responds with an error status nevertheless,
// as a gateway does whose patience ended too early.
func HandleAndRespondWith(pattern string, status int) Fault {
	return newFault(pattern, "respond with "+strconv.Itoa(status)+" in spite of the success", platform.Fault{StatusAfter: status})
}

// RateLimit responds with 429 and a Retry-After header, in whole seconds.
func RateLimit(pattern string, retryAfter time.Duration) Fault {
	seconds := int(math.Ceil(retryAfter.Seconds()))
	return newFault(pattern, "rate limit", platform.Fault{Status: http.StatusTooManyRequests, RetryAfter: strconv.Itoa(seconds)})
}

// Delay waits before it handles the request, even if the client disconnects.
func Delay(pattern string, d time.Duration) Fault {
	return newFault(pattern, "delay "+d.String(), platform.Fault{Delay: max(d, 0)})
}

// CutResponse closes the connection after n bytes of the response's body, heartbeats
// included. n must be positive: [LoseResponse] sends none. A response that is shorter is not
// cut, and the test fails.
func CutResponse(pattern string, n int) Fault {
	return newFault(pattern, fmt.Sprintf("cut the response after %d bytes", n), platform.Fault{CutResponseAfter: int64(max(n, 0))})
}

// StallResponse sends nothing more after n bytes of the response's body until the client
// disconnects. n must be positive. A response that is shorter does not stall, and the test
// fails.
func StallResponse(pattern string, n int) Fault {
	return newFault(pattern, fmt.Sprintf("stall the response after %d bytes", n), platform.Fault{StallResponseAfter: int64(max(n, 0))})
}

// EndOutput ends the response of an output stream after n bytes of output as if that were
// the end of it. Heroku's does so now and then.
func EndOutput(n int) Fault {
	return newFault(ReadOutput, fmt.Sprintf("end the response after %d bytes", n), platform.Fault{EndAfter: int64(max(n, 0)), EndNow: n <= 0})
}

// HideOutput responds to the request of an output stream as if there were none.
func HideOutput() Fault {
	return newFault(ReadOutput, "hide the output", platform.Fault{NotFound: true})
}

// IgnoreRange sends an output stream from its start although a range was requested.
func IgnoreRange() Fault {
	return newFault(ReadOutput, "ignore the range", platform.Fault{IgnoreRange: true})
}

// Random makes a share of all requests fail at random, except downloads from the storage:
// with lost requests and responses, error statuses before and after the request is handled,
// rate limits, delays of up to 5 ms and responses that are cut; output streams also with
// stalls, early ends and ranges that are ignored. The share is from 0 to 1. The same requests
// get the same faults with the same seed, in whatever order they arrive, and each at most
// twice, so that a client that retries succeeds.
func Random(seed uint64, share float64) Fault {
	f := Fault{text: fmt.Sprintf("random faults of seed %d", seed), pattern: AnyRequest, times: always}
	f.random = platform.RandomFaults(seed, share, 2)
	return f
}

// Inject adds faults for later requests. If several match a request, the first that was
// added and is not used up happens to it. A pattern that is invalid fails the test, or is
// logged if there is none.
func (s *Server) Inject(faults ...Fault) {
	err := s.add(faults)
	switch {
	case err == nil:
	case s.tb != nil:
		s.tb.Helper()
		s.tb.Fatalf("%v", err)
	default:
		s.p.Logger().Error(err.Error())
	}
}

// pendingFault is a fault with the count of the requests that it is still of.
type pendingFault struct {
	Fault
	matches *http.ServeMux
	skip    int
	left    int
}

func (s *Server) add(faults []Fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if err := f.check(); err != nil {
			return err
		}
		mux, err := compile(f.pattern)
		if err != nil {
			return err
		}
		s.faults = append(s.faults, &pendingFault{Fault: f, matches: mux, skip: f.after, left: f.times})
	}
	return nil
}

// check refuses a fault that would never happen.
func (f Fault) check() error {
	switch {
	case f.times < 1:
		return fmt.Errorf("herokutest: %v must happen at least once", f)
	case f.after < 0:
		return fmt.Errorf("herokutest: %v: After is negative", f)
	case f.random == nil && f.fault == (platform.Fault{}):
		return fmt.Errorf("herokutest: %v needs a positive number", f)
	}
	return nil
}

// compile returns a ServeMux with a pattern, which panics if the pattern is invalid.
func compile(pattern string) (mux *http.ServeMux, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("herokutest: invalid pattern %q: %v", pattern, v)
		}
	}()
	mux = http.NewServeMux()
	mux.Handle(pattern, http.NotFoundHandler())
	return mux, nil
}

// fault chooses the fault of a request.
func (s *Server) fault(at platform.FaultPoint) platform.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return platform.Fault{}
	}
	sent := requests(at)
	for _, f := range s.faults {
		if f.left <= 0 || !f.match(sent) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.random != nil {
			return f.random(at)
		}
		if f.left != always {
			f.left--
		}
		return f.fault
	}
	return platform.Fault{}
}

// requests returns a request in the forms that patterns may have: as sent, and with the
// name of the app.
func requests(at platform.FaultPoint) []*http.Request {
	request := func(path string) *http.Request {
		return &http.Request{Method: at.Method, Host: platform.HostName(at.Host), URL: &url.URL{Path: path}}
	}
	all := []*http.Request{request(at.Path)}
	if at.App != "" {
		_, rest, _ := strings.Cut(strings.TrimPrefix(at.Path, "/apps/"), "/")
		all = append(all, request(strings.TrimSuffix("/apps/"+at.App+"/"+rest, "/")))
	}
	return all
}

func (f *pendingFault) match(requests []*http.Request) bool {
	for _, r := range requests {
		if _, pattern := f.matches.Handler(r); pattern != "" {
			return true
		}
	}
	return false
}

// unmet returns the faults that did not happen, or not as often as they should: because no
// request matched, or because they had no effect on it, as a cut beyond the end of a response.
func (s *Server) unmet() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	happened := s.p.FaultsInjected()
	// A fault without an end counts as well, so that the counts then prove nothing.
	proves := !slices.ContainsFunc(s.faults, func(f *pendingFault) bool { return f.left == always })
	var all []Fault
	for _, f := range s.faults {
		if f.left == always {
			continue
		}
		missing := f.left > 0
		for _, kind := range kinds(f.fault) {
			happened[kind] -= f.times - f.left
			missing = missing || proves && happened[kind] < 0
		}
		if missing {
			all = append(all, f.Fault)
		}
	}
	return all
}

// kinds are the names by which the emulator counts a fault.
func kinds(f platform.Fault) []string {
	var all []string
	for name, set := range map[string]bool{
		"Delay": f.Delay > 0, "Status": f.Status != 0, "StatusAfter": f.StatusAfter != 0, "Lost": f.Lost,
		"CutRequestAfter": f.CutRequestAfter > 0, "CutResponseAfter": f.CutResponseAfter > 0, "StallResponseAfter": f.StallResponseAfter > 0,
		"EndAfter": f.EndAfter > 0, "EndNow": f.EndNow, "NotFound": f.NotFound, "IgnoreRange": f.IgnoreRange,
	} {
		if set {
			all = append(all, name)
		}
	}
	return all
}
