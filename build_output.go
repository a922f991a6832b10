package herokubuild

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// buildOutput passes a build's output to the caller's writer and keeps its end.
type buildOutput struct {
	ctx context.Context //nolint:containedctx // An io.Writer gets no context.
	w   io.Writer
	log *eventLog
	// latest is the build as the stream last saw it. final is closed when its status is
	// final, done when there is no more output.
	latest      atomic.Pointer[Build]
	final, done chan struct{}
	ended       sync.Once

	// These belong to the goroutine of follow until done is closed: the last lines, the
	// writer's error, and why the output is incomplete.
	tail     logTail
	writeErr error
	lost     error
}

// followBuild writes the output of a build to w, in a goroutine that join waits for. get
// requests the build.
func followBuild(ctx context.Context, c *Client, log *eventLog, b *Build, opts buildOutputOptions) *buildOutput {
	o := &buildOutput{ctx: ctx, w: opts.output, log: log, final: make(chan struct{}), done: make(chan struct{})}
	get := func(ctx context.Context) (*Build, error) {
		latest, err := c.Builds.Get(ctx, opts.id, b.ID)
		if err == nil {
			o.keep(latest)
		}
		return latest, err
	}
	stream := StreamOptions{IdleTimeout: opts.idleTimeout, Offset: log.saved().OutputOffset}
	stream.OnHeartbeat = func(quiet time.Duration) {
		log.emit(ctx, DeployEvent{Kind: EventHeartbeat, App: opts.app, Build: b, Quiet: quiet})
	}
	go func() {
		defer close(o.done)
		stream, err := followOutput(ctx, c.api, b, &stream, get)
		if err == nil {
			_, err = stream.WriteTo(o) //nolint:contextcheck // It has the context that it was opened with.
			_ = stream.Close()
		}
		o.lost = err
		switch {
		case o.writeErr != nil:
			log.GiveUp(o.writeErr)
		case err != nil && ctx.Err() == nil:
			log.emit(ctx, DeployEvent{Kind: EventOutputLost, App: opts.app, Build: b, Err: err})
		}
	}()
	return o
}

// buildOutputOptions are the app that builds, as the caller named it and by its id, and
// how its output is followed.
type buildOutputOptions struct {
	app, id     string
	output      io.Writer
	idleTimeout time.Duration
}

// keep stores the last state of the build. A stale response, as of a replica that lags
// behind, does not undo a final status.
func (o *buildOutput) keep(b *Build) {
	if before := o.latest.Load(); before != nil && before.Status.Final() && !b.Status.Final() {
		return
	}
	o.latest.Store(b)
	if b.Status.Final() {
		o.ended.Do(func() { close(o.final) })
	}
}

func (o *buildOutput) Write(p []byte) (int, error) {
	o.tail.add(p)
	n, err := o.log.write(o.ctx, o.w, p)
	if err != nil && o.ctx.Err() == nil {
		o.writeErr = err
	}
	return n, err
}

// join waits for the end of the output, for a short time if the context has
// ended: a writer that blocks cannot be stopped. It returns the writer's error
// and why the output is incomplete.
func (o *buildOutput) join(ctx context.Context) (writeErr, lost error) {
	if !o.log.Await(ctx, o.done) {
		return nil, contextError(ctx)
	}
	return o.writeErr, o.lost
}

// lastLines returns the end of the output, if that has been reached.
func (o *buildOutput) lastLines() string {
	select {
	case <-o.done:
		return o.tail.String()
	default:
		return ""
	}
}

// logTail keeps the end of a log.
type logTail struct{ text []byte }

const (
	tailLines = 20
	tailBytes = 8 << 10
)

func (t *logTail) add(p []byte) {
	t.text = append(t.text, p[max(len(p)-tailBytes, 0):]...)
	// Trimming at every write would copy the whole tail each time.
	if over := len(t.text) - tailBytes; over > tailBytes {
		t.text = append(t.text[:0], t.text[over:]...)
	}
}

// String returns the last lines.
func (t *logTail) String() string {
	text := strings.TrimRight(string(t.text), "\n")
	start := max(len(text)-tailBytes, 0)
	lines := strings.Split(text[start:], "\n")
	if start > 0 && len(lines) > 1 {
		// The first line is incomplete.
		lines = lines[1:]
	}
	lines = lines[max(len(lines)-tailLines, 0):]
	return strings.ToValidUTF8(strings.Join(lines, "\n"), "\uFFFD")
}
