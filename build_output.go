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
	ctx context.Context //nolint:containedctx // An io.Writer has no other way to know it.
	w   io.Writer
	log *eventLog
	// latest is the build in the state that the stream saw last; final is closed
	// when its status is, done when there is no more output.
	latest      atomic.Pointer[Build]
	final, done chan struct{}
	ended       sync.Once

	// These belong to the goroutine of follow until done is closed: the last
	// lines, the writer's error, and why the output is incomplete.
	tail     logTail
	writeErr error
	lost     error
}

// follow writes the build's output to the caller's writer, in a goroutine that
// join waits for.
func (d *deploy) follow(ctx context.Context, b *Build) *buildOutput {
	o := &buildOutput{ctx: ctx, w: d.opts.Output, log: d.log, final: make(chan struct{}), done: make(chan struct{})}
	get := func(ctx context.Context) (*Build, error) {
		latest, err := d.client.Builds.Get(ctx, d.buildApp(), b.ID)
		if err == nil {
			o.keep(latest)
		}
		return latest, err
	}
	opts := d.opts.streamOptions()
	opts.Offset = d.log.saved().OutputOffset
	opts.OnHeartbeat = func(quiet time.Duration) {
		d.log.emit(ctx, DeployEvent{Kind: EventHeartbeat, App: d.opts.BuildApp, Build: b, Quiet: quiet})
	}
	go func() {
		defer close(o.done)
		stream, err := d.client.Builds.follow(ctx, b, opts, get)
		if err == nil {
			_, err = stream.WriteTo(o) //nolint:contextcheck // It has the context that it was opened with.
			_ = stream.Close()
		}
		o.lost = err
		switch {
		case o.writeErr != nil:
			d.log.giveUp(o.writeErr)
		case err != nil && ctx.Err() == nil:
			d.log.emit(ctx, DeployEvent{Kind: EventOutputLost, App: d.opts.BuildApp, Build: b, Err: err})
		}
	}()
	return o
}

// keep stores what the platform last said of the build. A response that is older
// than one before, as of a replica that lags behind, does not undo the end.
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
	select {
	case <-o.done:
		return o.writeErr, o.lost
	case <-ctx.Done():
	}
	grace := time.NewTimer(callbackGrace)
	defer grace.Stop()
	select {
	case <-o.done:
		return o.writeErr, o.lost
	case <-grace.C:
		o.log.block()
		return nil, contextError(ctx)
	}
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
	// Trimming at every write would copy the whole for each byte.
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
		// The first is cut.
		lines = lines[1:]
	}
	lines = lines[max(len(lines)-tailLines, 0):]
	return strings.ToValidUTF8(strings.Join(lines, "\n"), "\uFFFD")
}
