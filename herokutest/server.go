// Package herokutest runs a Heroku for tests, as net/http/httptest runs an HTTP server.
//
// [NewServer] starts a [Server] that emulates what a deploy needs of Heroku: the Platform
// API of apps, builds, sources, slugs and releases, the storage of archives, and the host
// of output streams. A client made by [Server.Client] deploys to it in milliseconds:
//
//	srv := herokutest.NewServer(t, nil)
//	result, err := srv.Client().BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
//		BuildApp: "example-app",
//		Dir:      ".",
//	})
//
// # Builds
//
// A build compiles nothing and succeeds at once, unless [Options.Build] says otherwise:
// a function that prints output, takes time, fails or declares process types. [Compile]
// really builds the source with its bin/compile or the local go command. What a release
// phase does is a function as well, [Options.ReleasePhase].
//
// # Faults
//
// [Server.Inject] makes requests fail as they do on a network: [LoseResponse],
// [RespondWith], [CutResponse], [EndOutput], [RateLimit] and more. Each is of the next
// request of its kind, or of more with [Fault.Times]. A fault that did not happen by
// the end of the test fails the test, which would otherwise have tested nothing.
//
// # Time
//
// With [Options.InMemory] the server uses no sockets. It then works in a bubble of
// [testing/synctest], where time passes at once: a build of 40 minutes, an idle timeout or
// the wait for a rate limit takes milliseconds.
//
// # Assertions
//
// [Server.Builds], [Server.Releases], [Server.Slug] and [Server.Requests] return what the
// server has seen. [Server.CheckDeployedOnce] checks for exactly one build and one release
// an app.
package herokutest

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// TB is the part of [testing.TB] that this package uses.
type TB interface {
	Helper()
	Cleanup(f func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Options configure a [Server]. The zero value is ready to use, and nothing in it waits:
// [Realistic] returns options with the delays that Heroku has.
type Options struct {
	// Apps are the names of the apps to create. The default is example-app and
	// other-app, unless there are FirApps.
	Apps []string
	// FirApps are the names of Fir-generation apps to create, whose builds make OCI
	// images instead of slugs.
	FirApps []string
	// Build is what a build does. The default prints a line and succeeds.
	Build BuildFunc
	// ReleasePhase is what the release phase does of a release whose Procfile has a
	// process type named release. The default prints the command and succeeds.
	ReleasePhase ReleasePhaseFunc
	// InMemory makes the server use no sockets, so that only [Server.Client] and
	// [Server.Transport] reach it. It is required in a bubble of [testing/synctest].
	InMemory bool
	// Addr is the loopback address of the API. The default is a free port of
	// 127.0.0.1. It is not used if InMemory is set.
	Addr string
	// Token is the API key that the server accepts. The default is a random one.
	Token string
	// Heartbeat is how long an output stream is silent before the server sends a NUL
	// byte. The default is 10 s.
	Heartbeat time.Duration
	// StatusLag is how long a build or release stays pending after the end of its
	// output. The default is none.
	StatusLag time.Duration
	// StreamDelay is how long the output stream of a new release responds with 404. The
	// default is none.
	StreamDelay time.Duration
	// OutputLimit is how many bytes of the output of a build or release the server
	// keeps. Beyond it the oldest half is dropped, and offsets count from the new
	// beginning. The default is no limit.
	OutputLimit int64
	// URLLifetime is how long the signed URLs of the storage are valid. The default is
	// 1 h; with a negative one they have expired.
	URLLifetime time.Duration
	// BuildTimeout is how long a build may take before it fails. The default is 1 h.
	BuildTimeout time.Duration
	// RateLimit is the number of requests an hour that the account may make. The default
	// is 4500.
	RateLimit int
	// Faults are injected from the start, as by [Server.Inject].
	Faults []Fault
	// Logger receives a record of each request, without secrets. The default of
	// NewServer prints them if the test fails, that of Start discards them.
	Logger *slog.Logger
}

// Realistic returns options of a server that really builds and runs release commands on this
// machine, and has delays as Heroku has: a status lag of 150 ms, a stream delay of 300 ms, and
// 25 minutes for a build. Only give it code that you trust.
func Realistic() *Options {
	return &Options{
		Build:        Compile,
		ReleasePhase: RunCommand,
		StatusLag:    150 * time.Millisecond,
		StreamDelay:  300 * time.Millisecond,
		BuildTimeout: 25 * time.Minute,
	}
}

// Server is a running emulator of Heroku. Its methods are safe for concurrent use.
type Server struct {
	p  *platform.Platform
	tb TB // nil if the server was started without a test

	mu     sync.Mutex
	faults []*pendingFault
}

// NewServer starts a server that is closed when the test ends. If it cannot start, the
// test fails. If opts is nil, the defaults apply.
//
// If the test fails, the server prints its requests to the log of the test.
func NewServer(tb TB, opts *Options) *Server {
	tb.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	log := &logBuffer{}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	s, err := start(o, tb)
	if err != nil {
		tb.Fatalf("%v", err)
		return nil
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("%v", err)
		}
		for _, f := range s.unmet() {
			tb.Errorf("herokutest: the fault did not happen, or not often enough: %v", f)
		}
		if text := log.String(); tb.Failed() && text != "" {
			tb.Logf("the requests to herokutest:\n%s", text)
		}
	})
	return s
}

// Start starts a server outside of a test. The caller must close it. If opts is nil, the
// defaults apply.
func Start(opts *Options) (*Server, error) {
	if opts == nil {
		opts = &Options{}
	}
	return start(*opts, nil)
}

func start(o Options, tb TB) (*Server, error) {
	s := &Server{tb: tb}
	if err := s.add(o.Faults); err != nil {
		return nil, err
	}
	p, err := platform.Start(o.engine(s.fault))
	if err != nil {
		return nil, fmt.Errorf("herokutest: %w", err)
	}
	s.p = p
	return s, nil
}

// engine converts options to those of the emulator, whose own defaults are realistic.
func (o Options) engine(faults platform.FaultFunc) platform.Options {
	instant := func(d time.Duration) time.Duration {
		if d == 0 {
			return -1
		}
		return d
	}
	if o.Build == nil {
		o.Build = printLine
	}
	if o.ReleasePhase == nil {
		o.ReleasePhase = printCommand
	}
	if o.BuildTimeout == 0 {
		o.BuildTimeout = time.Hour
	}
	return platform.Options{
		Apps:               o.Apps,
		FirApps:            o.FirApps,
		Addr:               o.Addr,
		InMemory:           o.InMemory,
		Token:              o.Token,
		Builder:            o.Build.builder(),
		ReleasePhase:       o.ReleasePhase.phase(),
		Heartbeat:          o.Heartbeat,
		StatusLag:          instant(o.StatusLag),
		ReleaseStreamDelay: instant(o.StreamDelay),
		OutputLimit:        o.OutputLimit,
		SourceTTL:          o.URLLifetime,
		BuildTimeout:       o.BuildTimeout,
		RateLimit:          o.RateLimit,
		Faults:             faults,
		Logger:             o.Logger,
	}
}

// Close stops builds and release phases, closes all connections and removes the files of
// the server. Further calls return the result of the first. NewServer closes the server
// when the test ends.
func (s *Server) Close() error {
	if err := s.p.Close(); err != nil {
		return fmt.Errorf("herokutest: %w", err)
	}
	return nil
}

// URL returns the base URL of the API, for clients other than those of [Server.Client].
func (s *Server) URL() string { return s.p.URL() }

// Token returns the API key that the server accepts.
func (s *Server) Token() string { return s.p.Token() }

// Transport returns a transport for clients of other libraries. It is the only way to
// reach a server that is in memory. It does not authorize requests.
func (s *Server) Transport() http.RoundTripper { return s.p.Transport() }

// Client returns a client of the server. It retries and polls without the pauses that are
// usual on a network, and opts can change that. If opts are invalid, the test fails.
//
// Outside of a test use [herokubuild.NewClient] with [Server.ClientOptions]: there, every call
// of a client with invalid options fails.
func (s *Server) Client(opts ...herokubuild.Option) *herokubuild.Client {
	client, err := herokubuild.NewClient(append(s.ClientOptions(), opts...)...)
	switch {
	case err == nil:
		return client
	case s.tb != nil:
		s.tb.Helper()
		s.tb.Fatalf("herokutest: %v", err)
	}
	// Every call of a zero client returns an error.
	return &herokubuild.Client{}
}

// ClientOptions returns the options of [Server.Client]: the URL, the key, the transport and
// pauses of milliseconds.
func (s *Server) ClientOptions() []herokubuild.Option {
	return []herokubuild.Option{
		herokubuild.WithBaseURL(s.URL()),
		herokubuild.WithToken(s.Token()),
		herokubuild.WithTransport(s.Transport()),
		herokubuild.WithRetry(herokubuild.RetryOptions{MinWait: time.Millisecond, MaxWait: maxPause}),
		herokubuild.WithPollBackoff(func(n int) time.Duration { return min(time.Millisecond<<min(n, 10), maxPause) }),
		herokubuild.WithSettleTime(500 * time.Millisecond),
	}
}

// maxPause is the longest pause of the clients between two requests.
const maxPause = 50 * time.Millisecond

// AddApp creates an app. Its name has 3 to 30 lower-case letters, digits and dashes.
func (s *Server) AddApp(name string) error { return named(s.p.AddApp(name)) }

// AddFirApp creates an app of the Fir generation.
func (s *Server) AddFirApp(name string) error { return named(s.p.AddFirApp(name)) }

// AppID returns the ID of an app, or an empty string if there is no such app.
func (s *Server) AppID(app string) string { return s.p.AppID(app) }

// Rename renames an app, as another user of Heroku may do at any time.
func (s *Server) Rename(app, name string) error { return named(s.p.Rename(app, name)) }

// SetConfigVars sets config vars of an app and keeps its others, without a release.
func (s *Server) SetConfigVars(app string, vars map[string]string) error {
	return named(s.p.SetConfigVars(app, vars))
}

// SetRateLimit changes [Options.RateLimit]. The account then has that many requests left.
func (s *Server) SetRateLimit(requests int) { s.p.SetRateLimit(requests) }

// ExpireRelease deletes the slug or image of a release, as Heroku does with old ones. It
// fails if an app runs it.
func (s *Server) ExpireRelease(app string, version int) error {
	return named(s.p.Expire(app, version))
}

// Serve serves an app's web requests with h, and returns the URL at which it does: the
// app's WebURL from then on, on this machine. If the server is in memory, only
// [Server.Transport] reaches it. A later call replaces h. Without a handler, requests to
// the app get a 503, as from an app without web processes.
func (s *Server) Serve(app string, h http.Handler) (url string, err error) {
	url, err = s.p.Serve(app, h)
	return url, named(err)
}

// named adds the name of the package to an error of the emulator.
func named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("herokutest: %w", err)
}

// logBuffer holds the log of a test's server until the end of the test.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
