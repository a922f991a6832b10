package platform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// The names of the origins in the journal.
const (
	roleAPI    = "api"
	roleBlob   = "blob"
	roleStream = "stream"
	roleWeb    = "web"
)

// origin is one listener with its server.
type origin struct {
	role   string
	url    string
	ln     net.Listener
	srv    *http.Server
	served chan struct{} // closed when the accept loop ends; nil before it starts
	conns  sync.WaitGroup
}

func newOrigin(ctx context.Context, role string, ln net.Listener, h http.Handler, log *slog.Logger) *origin {
	o := &origin{role: role, url: "http://" + ln.Addr().String(), ln: ln}
	o.srv = &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
		// Handlers run on the goroutine of their connection, so waiting for
		// connections also waits for handlers.
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				o.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				o.conns.Done()
			default:
			}
		},
	}
	return o
}

func (o *origin) serve() {
	o.served = make(chan struct{})
	go func() {
		defer close(o.served)
		_ = o.srv.Serve(o.ln) // returns ErrServerClosed after close
	}()
}

func (o *origin) close() error {
	if o.served == nil {
		return o.ln.Close()
	}
	err := o.srv.Close()
	<-o.served
	o.conns.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
