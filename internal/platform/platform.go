// Package platform emulates Heroku in a single process on the loopback
// interface. It serves the build and release endpoints of the Platform API, an
// S3-like blob store, an output stream host and a router for the apps, each on its
// own port. Builds are real: sources are unpacked and compiled, slugs are packed and
// release commands are run. Apps are not: [Platform.Serve] gives them a handler.
//
// It implements the API from its documentation and shares no code with the
// SDK, so that the SDK's tests do not merely confirm its own assumptions.
//
// It runs code from the sources that it builds with the privileges of the
// process. It therefore listens only on loopback addresses and accepts a
// single secret token.
package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options configure a [Platform]. The zero value is ready to use.
type Options struct {
	// Apps are the names of the apps to create. The default is example-app and
	// other-app.
	Apps []string
	// FirApps are the names of Fir-generation apps to create; their builds
	// produce OCI images. The default is none.
	FirApps []string
	// Addr is the address of the API listener, by default 127.0.0.1:0. It must
	// be a loopback address. The blob store, the stream host, the router and the
	// apps that are served listen on free ports of the same host.
	Addr string
	// InMemory makes the platform listen on a network in memory, which only
	// [Platform.Transport] reaches. Its URLs have ports that TCP does not have. The
	// platform, its clients and a test then have nothing but files and child processes
	// outside of the process, and can run in a bubble of testing/synctest. Addr must
	// be empty.
	InMemory bool
	// Token is the accepted API key. The default is a random one.
	Token string
	// Email is the email address of the account, by default user@example.com.
	Email string
	// Heartbeat is how long an output stream is idle before a NUL byte is sent.
	// The default is 10 s.
	Heartbeat time.Duration
	// StatusLag is how long the status of a build or release stays pending
	// after its output has ended. The default is 150 ms; negative means none.
	StatusLag time.Duration
	// ReleaseStreamDelay is how long the output stream of a new release returns
	// 404. The default is 300 ms; negative means none.
	ReleaseStreamDelay time.Duration
	// SourceTTL is the lifetime of signed blob store URLs. The default is 1 h;
	// if it is negative, new URLs have already expired.
	SourceTTL time.Duration
	// StreamTTL is the lifetime of signed stream URLs. The default is 24 h; if
	// it is negative, new URLs have already expired.
	StreamTTL time.Duration
	// RateLimit is the size of the pool of request tokens, which refills within
	// an hour. The default is 4500.
	RateLimit int
	// MaxConcurrentBuilds limits the number of concurrent builds. The default
	// is 10. Builds of the same app always run one after another.
	MaxConcurrentBuilds int
	// Builder compiles the sources. The default is [DefaultBuilder].
	Builder Builder
	// ReleasePhase runs the release phase of each release whose slug has a release
	// process. The default is [DefaultReleasePhase].
	ReleasePhase ReleasePhaseFunc
	// BuildTimeout limits the duration of a build. The default is 25 min.
	BuildTimeout time.Duration
	// ReleaseTimeout limits the duration of a release phase. The default is
	// 1 h.
	ReleaseTimeout time.Duration
	// MaxSourceBytes limits the size of a source archive, both packed and
	// unpacked. The default is 1 GiB.
	MaxSourceBytes int64
	// MaxSourceFiles limits the number of entries of a source archive. The
	// default is 200,000.
	MaxSourceFiles int
	// OutputLimit limits how much output of a build or release command is kept.
	// When it is exceeded, the oldest half of the limit is dropped, and offsets
	// count from the new beginning; existing readers are not affected. The
	// default is no limit.
	OutputLimit int64
	// Faults chooses the faults to inject, until [Platform.SetFaults] replaces
	// it. The default is none.
	Faults FaultFunc
	// Logger receives log records, among them one of level Info for each request when
	// its response has ended: host, method, path, status (0 without a response),
	// duration, app, fault. nil disables logging. Neither tokens nor queries, which may
	// hold signatures, are logged.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if len(o.Apps) == 0 {
		o.Apps = []string{"example-app", "other-app"}
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Token == "" {
		o.Token = "HRKU-" + newUUID()
	}
	if o.Email == "" {
		o.Email = "user@example.com"
	}
	o.Heartbeat = positiveOr(o.Heartbeat, 10*time.Second)
	o.StatusLag = delayOr(o.StatusLag, 150*time.Millisecond)
	o.ReleaseStreamDelay = delayOr(o.ReleaseStreamDelay, 300*time.Millisecond)
	if o.SourceTTL == 0 {
		o.SourceTTL = time.Hour
	}
	if o.StreamTTL == 0 {
		o.StreamTTL = 24 * time.Hour
	}
	o.RateLimit = positiveOr(o.RateLimit, 4500)
	o.MaxConcurrentBuilds = positiveOr(o.MaxConcurrentBuilds, 10)
	if o.Builder == nil {
		o.Builder = DefaultBuilder()
	}
	if o.ReleasePhase == nil {
		o.ReleasePhase = DefaultReleasePhase
	}
	o.BuildTimeout = positiveOr(o.BuildTimeout, 25*time.Minute)
	o.ReleaseTimeout = positiveOr(o.ReleaseTimeout, time.Hour)
	o.MaxSourceBytes = positiveOr(o.MaxSourceBytes, 1<<30)
	o.MaxSourceFiles = positiveOr(o.MaxSourceFiles, 200_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func positiveOr[T ~int | ~int64](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// delayOr returns def for zero, and zero for a negative delay.
func delayOr(v, def time.Duration) time.Duration {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// Platform is a running emulator. Its methods are safe for concurrent use.
type Platform struct {
	opts Options
	log  *slog.Logger
	dir  string

	ctx    context.Context
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup // builds and release phases

	journal *journal
	limiter *rateLimiter
	signer  *signer
	faults  *faults
	blobs   *blobStore
	streams *streamHost
	fetcher *http.Client
	network network
	zips    *compressors
	slots   chan struct{} // limits concurrent builds
	// transport is for clients.
	transport *http.Transport

	free                   string // the address of origins other than the API
	api, blob, stream, web *origin

	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	started time.Time
	account userView
	stacks  []stackView
	region  namedRef
	cedar   namedRef
	fir     namedRef
	apps    []*app
	slugs   map[string]*slug
}

var (
	errClosed   = errors.New("platform closed")
	errCanceled = errors.New("build canceled")
	errTimeout  = errors.New("time limit exceeded")
)

// Start starts an emulator. It returns once all its ports accept connections.
func Start(opts Options) (*Platform, error) {
	if opts.InMemory && opts.Addr != "" {
		return nil, fmt.Errorf("platform: a platform in memory cannot listen on %q", opts.Addr)
	}
	opts = opts.withDefaults()
	host, _, err := net.SplitHostPort(opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("%q is not a loopback address", opts.Addr)
	}

	dir, err := os.MkdirTemp("", "herokutest-")
	if err != nil {
		return nil, err
	}
	// Child processes receive paths below dir, and some compare them with the
	// result of getcwd.
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	for _, sub := range []string{"blobs", "streams", "cache", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}

	now := time.Now()
	p := &Platform{
		opts:    opts,
		log:     opts.Logger,
		dir:     dir,
		journal: &journal{log: opts.Logger},
		limiter: newRateLimiter(opts.RateLimit, now),
		signer:  newSigner(),
		faults:  newFaults(opts.Faults),
		slots:   make(chan struct{}, opts.MaxConcurrentBuilds),
		started: now,
		account: userView{Email: opts.Email, ID: newUUID()},
		region:  namedRef{ID: newUUID(), Name: "us"},
		cedar:   namedRef{ID: newUUID(), Name: "cedar"},
		fir:     namedRef{ID: newUUID(), Name: "fir"},
		slugs:   map[string]*slug{},
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.stacks = newStacks(now)
	p.blobs = newBlobStore(filepath.Join(dir, "blobs"), p.signer)
	p.streams = newStreamHost(p.ctx, filepath.Join(dir, "streams"), p.signer, opts.Heartbeat, opts.OutputLimit)
	p.network = newNetwork(opts.InMemory)
	p.transport = p.network.transport()
	p.fetcher = newFetcher(p.network.transport())
	p.zips = &compressors{}
	for _, name := range opts.Apps {
		if err := p.AddApp(name); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	for _, name := range opts.FirApps {
		if err := p.addApp(name, p.fir); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}

	p.free = net.JoinHostPort(host, "0")
	for _, o := range []struct {
		into    **origin
		role    string
		addr    string
		handler http.Handler
	}{
		{&p.api, roleAPI, opts.Addr, p.middleware(roleAPI, noApp, p.apiHandler())},
		{&p.blob, roleBlob, p.free, p.middleware(roleBlob, noApp, p.blobs)},
		{&p.stream, roleStream, p.free, p.middleware(roleStream, noApp, p.streams)},
		{&p.web, roleWeb, p.free, p.routerHandler()},
	} {
		if *o.into, err = p.listen(o.role, o.addr, o.handler); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	// Responses of one origin contain URLs of another, so all of them must be
	// listening before the first request is served.
	for _, o := range p.origins() {
		o.serve()
	}
	p.log.Info("platform started", "api", p.api.url, "blob", p.blob.url, "stream", p.stream.url, "web", p.web.url)
	return p, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// middleware wraps the handler of an origin with the journal and the faults. app
// returns the name of the app that a request is for.
func (p *Platform) middleware(role string, app func(*http.Request) string, h http.Handler) http.Handler {
	return p.journal.record(role, app, p.injectFaults(role, h))
}

func noApp(*http.Request) string { return "" }

// listen opens an origin, which serves requests once its serve method is called.
func (p *Platform) listen(role, addr string, h http.Handler) (*origin, error) {
	ctx := withCompressors(p.ctx, p.zips)
	ln, err := p.network.listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	return newOrigin(ctx, role, ln, h, p.log), nil
}

func (p *Platform) origins() []*origin {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []*origin{p.api, p.blob, p.stream, p.web}
	for _, a := range p.apps {
		all = append(all, a.site)
	}
	return slices.DeleteFunc(all, func(o *origin) bool { return o == nil })
}

// URL returns the base URL of the API.
func (p *Platform) URL() string { return p.api.url }

// Token returns the API key that the platform accepts.
func (p *Platform) Token() string { return p.opts.Token }

// AppNames returns the names of the apps in the order of their creation.
func (p *Platform) AppNames() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, len(p.apps))
	for i, a := range p.apps {
		names[i] = a.name
	}
	return names
}

// Close kills builds and release commands with all their child processes,
// closes listeners and connections, waits for the platform's goroutines and
// removes its files. Further calls return the result of the first.
func (p *Platform) Close() error {
	p.closeOnce.Do(func() {
		p.cancel(errClosed)
		var errs []error
		for _, o := range p.origins() {
			errs = append(errs, o.close())
		}
		p.tasks.Wait()
		p.fetcher.CloseIdleConnections()
		p.transport.CloseIdleConnections()
		p.closeErr = errors.Join(append(errs, removeTree(p.dir))...)
	})
	return p.closeErr
}

// pause waits for d, or until the platform is closed.
func (p *Platform) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// AddApp creates an app with the two releases that a new app on Heroku has. It
// fails if the name is invalid or already in use.
func (p *Platform) AddApp(name string) error { return p.addApp(name, p.cedar) }

func (p *Platform) addApp(name string, generation namedRef) error {
	if err := checkAppName(name); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.findApp(name) != nil {
		return fmt.Errorf("app %q exists", name)
	}
	now := time.Now()
	a := &app{id: newUUID(), name: name, generation: generation, created: now, updated: now, config: map[string]string{}}
	a.cacheDir = p.newCacheDir()
	p.apps = append(p.apps, a)
	p.addRelease(a, nil, "Initial release", p.account)
	p.addRelease(a, nil, "Enable Logplex", p.account)
	return nil
}

// AppID returns the ID of an app, or an empty string if there is none.
func (p *Platform) AppID(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.findApp(name); a != nil {
		return a.id
	}
	return ""
}

// Rename renames an app.
func (p *Platform) Rename(app, name string) error {
	if err := checkAppName(name); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	switch {
	case a == nil:
		return fmt.Errorf("no app %q", app)
	case p.findApp(name) != nil:
		return fmt.Errorf("app %q exists", name)
	}
	a.name, a.updated = name, time.Now()
	return nil
}

// SetConfigVars sets config vars of an app and keeps its others. It does not
// create a release.
func (p *Platform) SetConfigVars(app string, vars map[string]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	if a == nil {
		return fmt.Errorf("no app %q", app)
	}
	for k := range vars {
		if !validVarName(k) {
			return fmt.Errorf("%q is not a valid config var name", k)
		}
	}
	maps.Copy(a.config, vars)
	return nil
}

// discard removes the directory of a build or release phase in the background: the
// removal can take longer than everything else. An error is only logged, since Close
// tries again.
func (p *Platform) discard(dir string) {
	p.tasks.Go(func() {
		if err := removeTree(dir); err != nil {
			p.log.Warn("cannot remove working directory", "error", err)
		}
	})
}

// removeTree is like os.RemoveAll, but also removes directories without write
// permission, which builds may leave behind.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil { //nolint:gosec // all callers pass directories of the platform
		return nil
	}
	//nolint:gosec // as above
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) //nolint:gosec // a directory
		}
		return nil
	})
	return os.RemoveAll(dir) //nolint:gosec // as above
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return formatUUID(b)
}

func formatUUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
