package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stream is the output of a build or release command. It is written once and
// can be read by any number of clients from any offset.
type stream struct {
	file    string
	visible time.Time // until then, the stream host responds with 404

	limit int64

	mu      sync.Mutex
	w       *os.File
	begin   int64 // bytes before it have been dropped
	size    int64 // including the dropped bytes
	done    bool
	changed chan struct{} // closed and replaced on every change
}

// Write appends to the output.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return 0, os.ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.w.Write(p)
	s.size += int64(n)
	// The bytes stay in the file, since existing readers may still need them.
	for s.limit > 0 && s.size-s.begin > s.limit {
		s.begin += max(s.limit/2, 1)
	}
	s.notify()
	return n, err
}

func (s *stream) printf(format string, args ...any) {
	// If writing fails, so does the build itself.
	_, _ = fmt.Fprintf(s, format, args...)
}

func (s *stream) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// finish ends the output. Further calls do nothing.
func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	s.done = true
	_ = s.w.Close()
	s.notify()
}

func (s *stream) state() (begin, size int64, done bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin, s.size, s.done, s.changed
}

// streamHost serves the streams by ID.
type streamHost struct {
	closed    <-chan struct{}
	dir       string
	signer    *signer
	heartbeat time.Duration
	limit     int64

	mu      sync.Mutex
	streams map[string]*stream
}

func newStreamHost(ctx context.Context, dir string, s *signer, heartbeat time.Duration, limit int64) *streamHost {
	return &streamHost{closed: ctx.Done(), dir: dir, signer: s, heartbeat: heartbeat, limit: limit, streams: map[string]*stream{}}
}

// open registers the stream of a build or release.
func (h *streamHost) open(id string, delay time.Duration) (*stream, error) {
	f, err := os.Create(filepath.Join(h.dir, id))
	if err != nil {
		return nil, err
	}
	s := &stream{file: f.Name(), w: f, visible: time.Now().Add(delay), limit: h.limit, changed: make(chan struct{})}
	h.mu.Lock()
	h.streams[id] = s
	h.mu.Unlock()
	return s, nil
}

func (h *streamHost) find(id string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[id]
}

func streamPath(appID, id string) string {
	return "/streams/" + appID[:2] + "/" + appID + "/logs/" + id[:2] + "/" + id + ".log"
}

func (p *Platform) streamURL(appID, id string) string {
	return p.signer.streamURL(p.stream.url, streamPath(appID, id), p.opts.StreamTTL)
}

// Output returns what a build or release command has printed so far, without
// heartbeats and without what was dropped because of [Options.OutputLimit].
func (p *Platform) Output(id string) ([]byte, error) {
	s := p.streams.find(id)
	if s == nil {
		return nil, fmt.Errorf("no output of %q", id)
	}
	begin, size, _, _ := s.state()
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.NewSectionReader(f, begin, size-begin))
}

func (h *streamHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
		return
	}
	s := h.find(strings.TrimSuffix(path.Base(r.URL.Path), ".log"))
	// The response for an expired URL is that for a missing stream, as on Heroku.
	if s == nil || time.Now().Before(s.visible) || !h.signer.streamValid(r.URL) {
		notRegistered(w)
		return
	}

	offset, ranged := streamOffset(r.Header)
	begin, size, done, _ := s.state()
	size -= begin
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	status := http.StatusOK
	switch {
	case done && offset == size:
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNoContent)
		return
	case done && offset > size:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	case ranged && done:
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size))
	case ranged:
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-*/*", offset))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	// The error is ignored: the status has been sent, and the client is gone.
	_ = h.copy(w, r, s, begin+min(offset, math.MaxInt64-begin))
}

func notRegistered(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "Channel is not registered.")
}

// copy sends the output from offset on until the stream ends. The offset counts
// dropped bytes too.
func (h *streamHost) copy(w http.ResponseWriter, r *http.Request, s *stream, offset int64) error {
	f, err := os.Open(s.file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read

	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	beat := time.NewTimer(h.heartbeat)
	defer beat.Stop()
	for {
		_, size, done, changed := s.state()
		for offset < size {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), size-offset)], offset)
			if n == 0 {
				return errors.Join(io.ErrUnexpectedEOF, err)
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
			offset += int64(n)
			beat.Reset(h.heartbeat)
		}
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-beat.C:
			if fw, ok := w.(*faultWriter); ok {
				fw.beat = true
			}
			if _, err := w.Write([]byte{0}); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
			beat.Reset(h.heartbeat)
		case <-r.Context().Done():
			return r.Context().Err()
		case <-h.closed:
			return errClosed
		}
	}
}

// streamOffset returns the offset from which a client requests the output, and
// whether it gave one. Range has two forms, "bytes=100-" and the older "100-";
// others are ignored.
func streamOffset(h http.Header) (offset int64, ranged bool) {
	text := h.Get("Last-Event-Id")
	if text == "" {
		var open bool
		text, open = strings.CutSuffix(strings.TrimPrefix(h.Get("Range"), "bytes="), "-")
		if !open {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, false
	}
	return n, true
}
