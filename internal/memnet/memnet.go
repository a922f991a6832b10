// Package memnet is a network in memory: listeners and connections like those of TCP,
// but without sockets.
//
// Whatever waits in it waits for a channel and holds no lock, so that goroutines in a
// bubble of testing/synctest are durably blocked. Every wait ends with a deadline or a
// Close; no goroutine is started.
package memnet

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync"
)

// firstPort is larger than any port of TCP: an address that is dialed by mistake with
// package net is an error, not a connection to something else.
const firstPort = 1 << 16

// netName is the name of the network in addresses and errors.
const netName = "mem"

// addr is the address of a listener or of an end of a connection.
type addr string

func (addr) Network() string  { return netName }
func (a addr) String() string { return string(a) }

// Network is a set of listeners that only its own DialContext reaches. Its methods are
// safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	ports     int // number of ports given to listeners and dialers
}

// New returns a network without listeners.
func New() *Network { return &Network{listeners: map[string]*listener{}} }

// Listen listens on an address of the form host:port. With port 0 it chooses an unused
// port that TCP does not have.
func (n *Network) Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: netName, Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		address = net.JoinHostPort(host, n.newPort())
	}
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: netName, Addr: addr(address), Err: os.NewSyscallError("bind", errInUse)}
	}
	l := &listener{network: n, addr: addr(address)}
	n.listeners[address] = l
	return l, nil
}

// newPort returns an unused port. The caller must hold mu.
func (n *Network) newPort() string {
	n.ports++
	return strconv.Itoa(firstPort + n.ports - 1)
}

// DialContext connects to a listener of the network. It has the signature of the field
// of the same name of http.Transport, and ignores the name of the network.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	err := ctx.Err()
	if err == nil {
		n.mu.Lock()
		l := n.listeners[address]
		local := addr(net.JoinHostPort("127.0.0.1", n.newPort()))
		n.mu.Unlock()
		if l != nil {
			if c := l.connect(local); c != nil {
				return c, nil
			}
		}
		err = os.NewSyscallError("connect", errRefused)
	}
	return nil, &net.OpError{Op: "dial", Net: netName, Addr: addr(address), Err: err}
}

// listener implements net.Listener.
type listener struct {
	network *Network
	addr    addr

	mu      sync.Mutex
	pending []*Conn // connected and not yet accepted
	closed  bool
	changed signal
}

// connect returns the dialer's end of a new connection, or nil if the listener is
// closed.
func (l *listener) connect(from addr) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	dialed, accepted := newConns(from, l.addr)
	l.pending = append(l.pending, accepted)
	l.changed.send()
	return dialed
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, changed, err := l.next()
		if c != nil || err != nil {
			return c, err
		}
		<-changed
	}
}

// next returns the next connection, or a channel that is closed when there is one.
// It returns a net.Conn, since an interface with a nil *Conn is not nil.
func (l *listener) next() (net.Conn, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, &net.OpError{Op: "accept", Net: netName, Addr: l.addr, Err: net.ErrClosed}
	case len(l.pending) == 0:
		return nil, l.changed.wait(), nil
	}
	c := l.pending[0]
	l.pending = l.pending[1:]
	return c, nil, nil
}

// Close implements net.Listener. It resets connections that were not accepted.
func (l *listener) Close() error {
	l.mu.Lock()
	pending, again := l.pending, l.closed
	l.pending, l.closed = nil, true
	l.changed.send()
	l.mu.Unlock()
	if again {
		return &net.OpError{Op: "close", Net: netName, Addr: l.addr, Err: net.ErrClosed}
	}
	l.network.mu.Lock()
	delete(l.network.listeners, string(l.addr))
	l.network.mu.Unlock()
	for _, c := range pending {
		_ = c.Reset() // a connection that nobody has closed
	}
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// signal wakes all goroutines that wait for a change of what a mutex guards. The mutex
// must be held in calls of its methods.
type signal struct{ c chan struct{} }

// wait returns a channel that the next send closes.
func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) send() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
