package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conn is an end of a connection. It implements net.Conn and, of the methods of
// net.TCPConn, CloseWrite and SetLinger.
type Conn struct {
	local, remote addr
	in, out       *pipe
	// turn is held by the goroutine that writes, so that concurrent writes are not
	// mixed. It is no mutex because a write can wait for long.
	turn chan struct{}

	mu     sync.Mutex
	resets bool // Close resets the connection
}

// newConns returns the ends of a new connection.
func newConns(from, to addr) (dialed, accepted *Conn) {
	there, back := &pipe{}, &pipe{}
	dialed = &Conn{local: from, remote: to, in: back, out: there, turn: make(chan struct{}, 1)}
	accepted = &Conn{local: to, remote: from, in: there, out: back, turn: make(chan struct{}, 1)}
	return dialed, accepted
}

// opError adds to an error what failed. io.EOF stays as it is, as readers expect.
func (c *Conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: netName, Source: c.local, Addr: c.remote, Err: err}
}

// Read implements net.Conn. What the peer has written before it closed the connection
// can be read; after a reset, nothing can.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		n, wait, err := c.in.read(b)
		if wait == nil {
			return n, c.opError("read", err)
		}
		wait.block()
	}
}

// Write implements net.Conn. It returns once the network has accepted all of b, which
// bounds how much the peer has not read yet.
func (c *Conn) Write(b []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	written := 0
	for {
		n, wait, err := c.out.write(b[written:])
		written += n
		if wait == nil {
			return written, c.opError("write", err)
		}
		wait.block()
	}
}

// Close implements net.Conn. The peer reads what has been written, and then io.EOF.
// After SetLinger(0) it is the same as Reset.
func (c *Conn) Close() error {
	c.mu.Lock()
	resets := c.resets
	c.mu.Unlock()
	return c.close("close", resets)
}

// Reset closes the connection and discards what has not been read. Reads and writes of
// the peer fail with ECONNRESET.
func (c *Conn) Reset() error { return c.close("reset", true) }

func (c *Conn) close(op string, reset bool) error {
	if !c.in.closeReader(reset) {
		return c.opError(op, net.ErrClosed)
	}
	c.out.closeWriter(reset)
	return nil
}

// CloseWrite ends what the peer reads. Reading remains possible.
func (c *Conn) CloseWrite() error { return c.opError("close", c.out.endWrites()) }

// SetLinger makes Close reset the connection if sec is 0. Other values have no effect:
// Close never waits.
func (c *Conn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets = sec == 0
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.in.setReadDeadline(t))
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.out.setWriteDeadline(t))
}

// waiting is what a read or write has to wait for.
type waiting struct {
	changed  <-chan struct{}
	deadline time.Time
}

// block returns when the pipe has changed or the deadline has passed.
func (w *waiting) block() {
	if w.deadline.IsZero() {
		<-w.changed
		return
	}
	t := time.NewTimer(time.Until(w.deadline))
	defer t.Stop()
	select {
	case <-w.changed:
	case <-t.C:
	}
}

func expired(deadline time.Time) error {
	if deadline.IsZero() || time.Now().Before(deadline) {
		return nil
	}
	return os.ErrDeadlineExceeded
}
