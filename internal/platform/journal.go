package platform

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxJournal limits the size of the journal; beyond it the oldest entries are
// dropped.
const maxJournal = 100_000

// Request is an entry of the journal: a request as it reached an origin, and the
// status of its response.
type Request struct {
	Host             string      // the origin: "api", "blob", "stream" or "web"
	App              string      // the requested app if Host is "web"
	Method           string      // as sent
	Path             string      // without the query, which may hold a signature
	Header           http.Header // with the value of Authorization replaced by "present"
	ContentLength    int64       // -1 when unknown
	TransferEncoding []string    // "chunked", or empty
	Status           int         // 0 until the response begins
	Time             time.Time   // of arrival
	Fault            bool        // a fault was injected
}

type journal struct {
	log *slog.Logger

	mu      sync.Mutex
	entries []*Request
}

// Requests returns the journal: every request to any origin, in order of
// arrival.
func (p *Platform) Requests() []Request {
	j := p.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Request, len(j.entries))
	for i, e := range j.entries {
		all[i] = *e
		all[i].Header = e.Header.Clone()
		all[i].TransferEncoding = slices.Clone(e.TransferEncoding)
	}
	return all
}

// record adds the requests to an origin. app returns the name of the app that a request
// is for.
func (j *journal) record(role string, app func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Request{
			Host:             role,
			App:              app(r),
			Method:           r.Method,
			Path:             r.URL.Path,
			Header:           r.Header.Clone(),
			ContentLength:    r.ContentLength,
			TransferEncoding: slices.Clone(r.TransferEncoding),
			Time:             time.Now(),
		}
		if len(e.Header.Values("Authorization")) > 0 {
			e.Header.Set("Authorization", "present")
		}
		j.mu.Lock()
		if len(j.entries) >= maxJournal {
			j.entries = slices.Delete(j.entries, 0, maxJournal/10)
		}
		j.entries = append(j.entries, e)
		j.mu.Unlock()

		rec := &recorder{ResponseWriter: w, journal: j, entry: e}
		defer j.logEnd(r.Context(), rec) // also if a fault ends the connection
		next.ServeHTTP(rec, r)
		rec.note(http.StatusOK)
	})
}

// HostName returns the name of an origin in the log and in package herokutest.
func HostName(role string) string {
	if role == roleBlob {
		return "storage"
	}
	return role
}

// logEnd logs a request whose response has ended.
func (j *journal) logEnd(ctx context.Context, rec *recorder) {
	j.mu.Lock()
	e, faults := *rec.entry, rec.faults
	j.mu.Unlock()
	attrs := []slog.Attr{
		slog.String("host", HostName(e.Host)), slog.String("method", e.Method), slog.String("path", e.Path),
		slog.Int("status", e.Status), slog.Duration("duration", time.Since(e.Time)),
	}
	if e.App != "" {
		attrs = append(attrs, slog.String("app", e.App))
	}
	if len(faults) > 0 {
		attrs = append(attrs, slog.String("fault", strings.Join(faults, ", ")))
	}
	j.log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// recorder records the status of a response in its journal entry.
type recorder struct {
	http.ResponseWriter
	journal *journal
	entry   *Request
	noted   bool
	faults  []string // guarded by the journal's mutex
}

func (r *recorder) note(status int) {
	if r.noted {
		return
	}
	r.noted = true
	r.journal.mu.Lock()
	r.entry.Status = status
	r.journal.mu.Unlock()
}

func (r *recorder) markFault(kind string) {
	r.journal.mu.Lock()
	r.entry.Fault = true
	r.faults = append(r.faults, kind)
	r.journal.mu.Unlock()
}

func (r *recorder) WriteHeader(status int) {
	if status >= 200 {
		r.note(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.note(http.StatusOK)
	return r.ResponseWriter.Write(p)
}

// Unwrap lets an http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
