package main

import (
	"context"
	"net/http"
	"regexp"
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/herokubuild/herokubuild"
)

// tracing makes spans of one deploy: its event method is for OnEvent, and it is
// itself the transport for WithHTTPClient.
type tracing struct {
	tracer trace.Tracer
	next   http.RoundTripper

	mu sync.Mutex
	// deploy is the span of the whole, phase that of the current phase, and
	// releases are those of the apps that are waited for.
	deploy, phase trace.Span
	releases      map[string]trace.Span
}

func newTracing(provider *sdktrace.TracerProvider, next http.RoundTripper) *tracing {
	ids := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	return &tracing{
		tracer: provider.Tracer("example.com/deploy"),
		next: otelhttp.NewTransport(unmask{next},
			otelhttp.WithTracerProvider(provider),
			// Storage hosts have no business with our trace.
			otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
				// A span's name is the route, without the ids in it.
				return r.Method + " " + ids.ReplaceAllString(r.URL.Path, "{id}")
			}),
		),
		releases: map[string]trace.Span{},
	}
}

// begin begins the span of the deploy; end ends it, and those still open.
func (t *tracing) begin(ctx context.Context, name string) (_ context.Context, end func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, t.deploy = t.tracer.Start(ctx, name)
	return ctx, func(err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, span := range t.releases {
			finish(span, err)
		}
		if t.phase != nil {
			finish(t.phase, err)
		}
		finish(t.deploy, err)
	}
}

// event is for BuildAndReleaseOptions.OnEvent.
func (t *tracing) event(ctx context.Context, e herokubuild.DeployEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case herokubuild.EventPhase:
		if t.phase != nil {
			finish(t.phase, nil)
		}
		_, t.phase = t.tracer.Start(trace.ContextWithSpan(ctx, t.deploy), string(e.Phase))
	case herokubuild.EventPacked:
		t.phase.SetAttributes(attribute.Int64("archive.size", e.Total), attribute.String("archive.checksum", e.Archive.Checksum()))
	case herokubuild.EventBuildCreated:
		t.phase.SetAttributes(attribute.String("build.id", e.Build.ID))
	case herokubuild.EventOutputLost:
		t.phase.RecordError(e.Err)
	case herokubuild.EventReleaseCreated:
		_, t.releases[e.App] = t.tracer.Start(trace.ContextWithSpan(ctx, t.phase), "release "+e.App,
			trace.WithAttributes(attribute.Int("release.version", e.Release.Version)))
	case herokubuild.EventReleaseDone:
		if span, ok := t.releases[e.App]; ok {
			finish(span, e.Err)
			delete(t.releases, e.App)
		}
	default: // the others say nothing that a span could
	}
	return nil
}

// finish ends a span. The library's errors have no secrets.
func finish(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// RoundTrip sends a request whose span is one of the current phase's. The query
// of a signed address grants access, and otelhttp records whole addresses: it
// gets to see one without, and unmask puts the query back.
func (t *tracing) RoundTrip(req *http.Request) (*http.Response, error) {
	t.mu.Lock()
	ctx := req.Context()
	if t.phase != nil {
		ctx = trace.ContextWithSpan(ctx, t.phase)
	}
	t.mu.Unlock()
	masked := req.Clone(context.WithValue(ctx, queryKey{}, req.URL.RawQuery))
	masked.URL.RawQuery = ""
	return t.next.RoundTrip(masked)
}

type queryKey struct{}

// unmask sends a request with the query that its context has.
type unmask struct{ next http.RoundTripper }

func (u unmask) RoundTrip(req *http.Request) (*http.Response, error) {
	whole := req.Clone(req.Context())
	whole.URL.RawQuery, _ = req.Context().Value(queryKey{}).(string)
	return u.next.RoundTrip(whole)
}
