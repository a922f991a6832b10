package platform

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/memnet"
)

// network is what connects the origins with their clients.
type network struct {
	listen func(ctx context.Context, addr string) (net.Listener, error)
	// transport returns a new transport.
	transport func() *http.Transport
}

func newNetwork(inMemory bool) network {
	if inMemory {
		return memoryNetwork()
	}
	return socketNetwork()
}

func socketNetwork() network {
	return network{
		listen: func(ctx context.Context, addr string) (net.Listener, error) {
			var cfg net.ListenConfig
			return cfg.Listen(ctx, "tcp", addr)
		},
		transport: func() *http.Transport {
			return &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				TLSHandshakeTimeout: 10 * time.Second,
				IdleConnTimeout:     30 * time.Second,
			}
		},
	}
}

// memoryNetwork has no way out: a transport connects to the origins only.
func memoryNetwork() network {
	n := memnet.New()
	return network{
		listen: func(_ context.Context, addr string) (net.Listener, error) { return n.Listen(addr) },
		transport: func() *http.Transport {
			return &http.Transport{DialContext: n.DialContext, IdleConnTimeout: 30 * time.Second}
		},
	}
}

// Transport returns the RoundTripper of clients of the platform. It is the only one
// that reaches a platform in memory, and reaches nothing else there; with sockets, it
// is like any other. Close closes its idle connections.
func (p *Platform) Transport() http.RoundTripper { return p.transport }
