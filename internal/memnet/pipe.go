package memnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxUnread bounds what a pipe holds.
const maxUnread = 64 << 10

// pipe is one direction of a connection.
type pipe struct {
	mu      sync.Mutex
	changed signal
	unread  bytes.Buffer

	ended        bool // nothing more will be written
	reset        bool
	readerClosed bool
	writerClosed bool

	readDeadline, writeDeadline time.Time
}

// read reads what there is. If it has to wait, it returns for what.
func (p *pipe) read(b []byte) (int, *waiting, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.readError(); err != nil {
		return 0, nil, err
	}
	if p.unread.Len() > 0 || len(b) == 0 {
		n := copy(b, p.unread.Next(len(b)))
		p.changed.send()
		return n, nil, nil
	}
	if p.ended {
		return 0, nil, io.EOF
	}
	return 0, &waiting{p.changed.wait(), p.readDeadline}, nil
}

func (p *pipe) readError() error {
	switch {
	case p.readerClosed:
		return net.ErrClosed
	case p.reset:
		return os.NewSyscallError("read", errReset)
	default:
		return expired(p.readDeadline)
	}
}

// write writes what there is room for. If that is not all of b, it returns what it has
// to wait for.
func (p *pipe) write(b []byte) (int, *waiting, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writeError(); err != nil {
		return 0, nil, err
	}
	n := min(len(b), maxUnread-p.unread.Len())
	if n > 0 {
		p.unread.Write(b[:n])
		p.changed.send()
	}
	if n == len(b) {
		return n, nil, nil
	}
	return n, &waiting{p.changed.wait(), p.writeDeadline}, nil
}

func (p *pipe) writeError() error {
	switch {
	case p.writerClosed:
		return net.ErrClosed
	case p.reset:
		return os.NewSyscallError("write", errReset)
	case p.ended, p.readerClosed:
		return os.NewSyscallError("write", errBroken)
	default:
		return expired(p.writeDeadline)
	}
}

// closeReader closes the end that reads and reports whether it was open.
func (p *pipe) closeReader(reset bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readerClosed {
		return false
	}
	p.readerClosed = true
	p.reset = p.reset || reset
	p.unread = bytes.Buffer{}
	p.changed.send()
	return true
}

// closeWriter closes the end that writes.
func (p *pipe) closeWriter(reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writerClosed, p.ended = true, true
	if reset {
		p.reset = true
		p.unread = bytes.Buffer{}
	}
	p.changed.send()
}

func (p *pipe) endWrites() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writerClosed {
		return net.ErrClosed
	}
	p.ended = true
	p.changed.send()
	return nil
}

func (p *pipe) setReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readerClosed {
		return net.ErrClosed
	}
	p.readDeadline = t
	p.changed.send()
	return nil
}

func (p *pipe) setWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writerClosed {
		return net.ErrClosed
	}
	p.writeDeadline = t
	p.changed.send()
	return nil
}
