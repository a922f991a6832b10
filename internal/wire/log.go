package wire

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/redact"
)

// attemptLog is one attempt of a request, for the log.
type attemptLog struct {
	method string
	// url has no secrets.
	url string
	// requestID is the one that was sent, if any.
	requestID string
	attempt   int
	started   time.Time
	// again is set if there will be another attempt, after wait.
	again bool
	wait  time.Duration
	// hide hides the secrets of the request.
	hide redact.Redactor
}

// write logs an attempt that ended with resp or err, and a warning in resp if there is one.
func (a attemptLog) write(ctx context.Context, log *slog.Logger, resp *http.Response, err error) {
	level, text := slog.LevelDebug, "herokubuild: request"
	if a.again {
		level, text = slog.LevelInfo, "herokubuild: retrying request"
	}
	if log.Enabled(ctx, level) {
		log.LogAttrs(ctx, level, text, a.attrs(resp, err)...)
	}
	if err == nil && log.Enabled(ctx, slog.LevelWarn) {
		a.warn(ctx, log, resp.Header)
	}
}

func (a attemptLog) attrs(resp *http.Response, err error) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 10), a.request()...)
	attrs = append(attrs, slog.Duration("duration", time.Since(a.started)), slog.Int("attempt", a.attempt))
	if err != nil {
		attrs = append(attrs, slog.String("error", clean.Clip(redact.WithoutURL(a.hide.Error(err)).Error(), redact.MaxText)))
	} else {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	if err == nil && resp.Header.Get(RequestIDHeader) != "" {
		attrs = a.header(attrs, "request_id", resp.Header, RequestIDHeader)
	} else if a.requestID != "" {
		attrs = append(attrs, slog.String("request_id", a.requestID))
	}
	if err == nil {
		if left, ok := RateRemaining(resp.Header); ok {
			attrs = append(attrs, slog.Int("rate_remaining", left))
		}
	}
	if a.again {
		attrs = append(attrs, slog.Duration("wait", a.wait))
	}
	return attrs
}

func (a attemptLog) request() []slog.Attr {
	host, path := "", a.url
	if u, err := url.Parse(a.url); err == nil {
		host, path = u.Host, u.EscapedPath()
	}
	return []slog.Attr{slog.String("method", a.method), slog.String("host", host), slog.String("path", path)}
}

// warn logs a warning from Heroku, such as that an endpoint will be removed. Both headers
// are in use.
func (a attemptLog) warn(ctx context.Context, log *slog.Logger, header http.Header) {
	for _, name := range []string{"Warning-Message", "X-Heroku-Warning"} {
		if header.Get(name) == "" {
			continue
		}
		attrs := a.header(a.request(), "warning", header, name)
		attrs = a.header(attrs, "warning_id", header, "Warning-Id")
		log.LogAttrs(ctx, slog.LevelWarn, "herokubuild: warning from Heroku", attrs...)
	}
}

// header adds the value of a header, unless it is empty.
func (a attemptLog) header(attrs []slog.Attr, key string, header http.Header, name string) []slog.Attr {
	if v := a.hide.Header(header, name); v != "" {
		attrs = append(attrs, slog.String(key, v))
	}
	return attrs
}
