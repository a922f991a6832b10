package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// waterfall is an exporter that collects spans and prints them as a tree.
type waterfall struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

// ExportSpans implements sdktrace.SpanExporter.
func (w *waterfall) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spans = append(w.spans, spans...)
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (w *waterfall) Shutdown(context.Context) error { return nil }

// print prints the spans below their parents, with start times and durations.
func (w *waterfall) print(out io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	children := map[trace.SpanID][]sdktrace.ReadOnlySpan{}
	for _, s := range w.spans {
		parent := s.Parent().SpanID()
		children[parent] = append(children[parent], s)
	}
	for _, of := range children {
		slices.SortStableFunc(of, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	}
	var below func(parent trace.SpanID, depth int, start time.Time)
	below = func(parent trace.SpanID, depth int, start time.Time) {
		for _, s := range children[parent] {
			if depth == 0 {
				start = s.StartTime()
				fmt.Fprintf(out, "trace %s\n    start  duration  span\n", s.SpanContext().TraceID())
			}
			fmt.Fprintf(out, "%9s %9s  %s%s%s\n", milliseconds(s.StartTime().Sub(start)), milliseconds(s.EndTime().Sub(s.StartTime())),
				strings.Repeat("  ", depth), s.Name(), outcome(s))
			below(s.SpanContext().SpanID(), depth+1, start)
		}
	}
	below(trace.SpanID{}, 0, time.Time{})
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// outcome returns the HTTP status and the error of a span.
func outcome(s sdktrace.ReadOnlySpan) string {
	text := ""
	for _, a := range s.Attributes() {
		if a.Key == "http.response.status_code" {
			text += fmt.Sprintf("  %d", a.Value.AsInt64())
		}
	}
	if s.Status().Code == codes.Error {
		text += strings.TrimRight("  failed: "+s.Status().Description, ": ")
	}
	return text
}
