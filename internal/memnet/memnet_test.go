package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connect returns the ends of a connection.
func connect(t *testing.T) (dialed, accepted *Conn) {
	t.Helper()
	l, err := New().Listen("127.0.0.1:0")
	require.NoError(t, err)
	return connectTo(t, l)
}

func connectTo(t *testing.T, l net.Listener) (dialed, accepted *Conn) {
	t.Helper()
	a, err := l.(*listener).network.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	b, err := l.Accept()
	require.NoError(t, err)
	return a.(*Conn), b.(*Conn)
}

// bothEnds runs a test with each end of a connection as the first.
func bothEnds(t *testing.T, test func(t *testing.T, a, b *Conn)) {
	t.Helper()
	for _, name := range []string{"dialed", "accepted"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := connect(t)
				if name == "accepted" {
					a, b = b, a
				}
				test(t, a, b)
			})
		})
	}
}

func requireOpError(t *testing.T, err error, op string, want error) {
	t.Helper()
	var failed *net.OpError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, want)
	assert.Equal(t, op, failed.Op)
	assert.Equal(t, errors.Is(want, os.ErrDeadlineExceeded), failed.Timeout())
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	n := New()
	seen := map[string]bool{}
	for range 3 {
		l, err := n.Listen("127.0.0.1:0")
		require.NoError(t, err)
		host, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		assert.Equal(t, "127.0.0.1", host)
		number, err := strconv.Atoi(port)
		require.NoError(t, err)
		assert.Greater(t, number, 65535, "TCP must not have the port")
		assert.False(t, seen[port])
		seen[port] = true
		a, b := connectTo(t, l)
		assert.Equal(t, l.Addr(), a.RemoteAddr())
		assert.Equal(t, l.Addr(), b.LocalAddr())
		assert.Equal(t, a.LocalAddr(), b.RemoteAddr())
	}
	_, err := net.Dial("tcp", "127.0.0.1:65536")
	var bad *net.AddrError
	require.ErrorAs(t, err, &bad, "a dial with sockets must not reach anything")
	_, err = n.Listen("127.0.0.1")
	require.ErrorAs(t, err, &bad)
}

func TestListenOnAddressInUse(t *testing.T) {
	t.Parallel()
	n := New()
	l, err := n.Listen("example:80")
	require.NoError(t, err)
	_, err = n.Listen("example:80")
	requireOpError(t, err, "listen", errInUse)
	require.NoError(t, l.Close())
	requireOpError(t, l.Close(), "close", net.ErrClosed)
	_, err = n.Listen("example:80")
	require.NoError(t, err)
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	n := New()
	_, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:80")
	requireOpError(t, err, "dial", errRefused)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = n.DialContext(ctx, "tcp", "127.0.0.1:80")
	requireOpError(t, err, "dial", context.Canceled)
	l, err := n.Listen("127.0.0.1:80")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = n.DialContext(t.Context(), "tcp", "127.0.0.1:80")
	requireOpError(t, err, "dial", errRefused)
	_, err = New().DialContext(t.Context(), "tcp", l.Addr().String())
	requireOpError(t, err, "dial", errRefused)
}

func TestCloseOfListener(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Listen("127.0.0.1:0")
		require.NoError(t, err)
		a, b := connectTo(t, l)
		pending, err := n.DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = pending.Write([]byte("x"))
		require.NoError(t, err, "a connection need not be accepted")
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, c.Close())

		waiting, err := n.DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		_, err = waiting.Read(make([]byte, 1))
		requireOpError(t, err, "read", errReset)
		_, err = l.Accept()
		requireOpError(t, err, "accept", net.ErrClosed)
		go func() { _, _ = a.Write([]byte("x")) }()
		_, err = io.ReadFull(b, make([]byte, 1))
		require.NoError(t, err, "accepted connections stay open")
	})
}

func TestCloseOfListenerEndsAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := New().Listen("127.0.0.1:0")
		require.NoError(t, err)
		var accepting sync.WaitGroup
		for range 2 {
			accepting.Go(func() {
				_, err := l.Accept()
				assert.ErrorIs(t, err, net.ErrClosed)
			})
		}
		synctest.Wait()
		require.NoError(t, l.Close())
		accepting.Wait()
	})
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, b *Conn) {
		sent := make([]byte, 1<<20)
		r := rand.NewChaCha8([32]byte{1})
		_, _ = r.Read(sent)
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(200_000))
				wrote, err := a.Write(rest[:n])
				if !assert.NoError(t, err) || !assert.Equal(t, n, wrote) {
					return
				}
				rest = rest[n:]
			}
			assert.NoError(t, a.CloseWrite())
		}()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent, got))
		n, err := b.Read(make([]byte, 1))
		assert.Zero(t, n)
		require.Equal(t, io.EOF, err)

		_, err = b.Write([]byte("reply"))
		require.NoError(t, err, "the other direction is still open")
		require.NoError(t, b.Close())
		got, err = io.ReadAll(a)
		require.NoError(t, err)
		assert.Equal(t, "reply", string(got))
	})
}

func TestWriteWaitsForReader(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, b *Conn) {
		written := make(chan int)
		go func() {
			n, err := a.Write(make([]byte, maxUnread+10))
			assert.NoError(t, err)
			written <- n
		}()
		synctest.Wait()
		assert.Empty(t, written)
		_, err := io.ReadFull(b, make([]byte, 10))
		require.NoError(t, err)
		assert.Equal(t, maxUnread+10, <-written)
	})
}

func TestConcurrentWritesAreNotMixed(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, b *Conn) {
		const size, writers = maxUnread + 1000, 4
		var writing sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				_, err := a.Write(bytes.Repeat([]byte{byte(i)}, size))
				assert.NoError(t, err)
			})
		}
		for range writers {
			piece := make([]byte, size)
			_, err := io.ReadFull(b, piece)
			require.NoError(t, err)
			assert.Equal(t, size, bytes.Count(piece, piece[:1]))
		}
		writing.Wait()
	})
}

func TestConcurrentReadsAndWrites(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, b *Conn) {
		const each, size = 200, 1000
		var running sync.WaitGroup
		var mu sync.Mutex
		total := 0
		for range 3 {
			running.Go(func() {
				for range each {
					_, err := a.Write(make([]byte, size))
					assert.NoError(t, err)
				}
			})
			running.Go(func() {
				for {
					n, err := b.Read(make([]byte, 700))
					mu.Lock()
					total += n
					done := total == 3*each*size
					mu.Unlock()
					if done {
						_ = a.Close() // another reader may have closed it
					}
					if err != nil {
						assert.Equal(t, io.EOF, err)
						return
					}
				}
			})
			running.Go(func() {
				for range each {
					if err := b.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
						t.Error(err)
					}
					_, _ = b.LocalAddr(), b.RemoteAddr()
				}
			})
		}
		running.Wait()
		assert.Equal(t, 3*each*size, total)
	})
}

// operations are the operations that can wait, with a connection on which they do.
func operations() map[string]func(*Conn) error {
	return map[string]func(*Conn) error{
		"read": func(c *Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		},
		"write": func(c *Conn) error {
			_, err := c.Write(make([]byte, 2*maxUnread))
			return err
		},
	}
}

func eachOperation(t *testing.T, test func(t *testing.T, op string, do func(*Conn) error, a, b *Conn)) {
	t.Helper()
	for op, do := range operations() {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			bothEnds(t, func(t *testing.T, a, b *Conn) { test(t, op, do, a, b) })
		})
	}
}

func TestDeadlineEndsOperation(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, op string, do func(*Conn) error, a, b *Conn) {
		began := time.Now()
		require.NoError(t, a.SetDeadline(began.Add(time.Hour)))
		requireOpError(t, do(a), op, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Hour, time.Since(began))

		_, err := b.Write([]byte("x"))
		require.NoError(t, err)
		requireOpError(t, do(a), op, os.ErrDeadlineExceeded)
		require.NoError(t, a.SetDeadline(time.Time{}))
		_, err = a.Read(make([]byte, 1))
		require.NoError(t, err, "the connection stays usable")
	})
}

func TestDeadlineIsChangedDuringOperation(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, op string, do func(*Conn) error, a, _ *Conn) {
		for name, change := range map[string]func(){
			"earlier": func() { assert.NoError(t, a.SetDeadline(time.Now().Add(time.Second))) },
			"past":    func() { assert.NoError(t, a.SetDeadline(time.Unix(1, 0))) },
			"later, then earlier": func() {
				assert.NoError(t, a.SetDeadline(time.Now().Add(time.Hour)))
				assert.NoError(t, a.SetDeadline(time.Now().Add(time.Minute)))
			},
		} {
			require.NoError(t, a.SetDeadline(time.Time{}))
			ended := make(chan error)
			go func() { ended <- do(a) }()
			synctest.Wait()
			t.Log(name)
			change()
			requireOpError(t, <-ended, op, os.ErrDeadlineExceeded)
		}
	})
}

func TestCloseEndsOperation(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, op string, do func(*Conn) error, a, _ *Conn) {
		ended := make(chan error)
		for range 2 {
			go func() { ended <- do(a) }()
		}
		synctest.Wait()
		require.NoError(t, a.Close())
		for range 2 {
			requireOpError(t, <-ended, op, net.ErrClosed)
		}
		requireOpError(t, do(a), op, net.ErrClosed)
		requireOpError(t, a.Close(), "close", net.ErrClosed)
		requireOpError(t, a.Reset(), "reset", net.ErrClosed)
		requireOpError(t, a.CloseWrite(), "close", net.ErrClosed)
		requireOpError(t, a.SetReadDeadline(time.Now()), "set", net.ErrClosed)
		requireOpError(t, a.SetWriteDeadline(time.Now()), "set", net.ErrClosed)
	})
}

func TestPeerEndsOperation(t *testing.T) {
	t.Parallel()
	linger := func(sec int) func(*Conn) error {
		return func(c *Conn) error { return errors.Join(c.SetLinger(sec), c.Close()) }
	}
	for name, tt := range map[string]struct {
		end         func(*Conn) error
		read, write error
	}{
		"close":           {(*Conn).Close, io.EOF, errBroken},
		"reset":           {(*Conn).Reset, errReset, errReset},
		"close, linger 0": {linger(0), errReset, errReset},
		"close, linger 1": {linger(1), io.EOF, errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachOperation(t, func(t *testing.T, op string, do func(*Conn) error, a, b *Conn) {
				ended := make(chan error)
				go func() { ended <- do(a) }()
				synctest.Wait()
				require.NoError(t, tt.end(b))
				want := tt.read
				if op == "write" {
					want = tt.write
				}
				for _, err := range []error{<-ended, do(a)} {
					if want == io.EOF { //nolint:errorlint // readers compare with ==
						require.Equal(t, want, err)
					} else {
						requireOpError(t, err, op, want)
					}
				}
				require.NoError(t, a.Close())
			})
		})
	}
}

func TestUnreadBytesAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(*Conn) error
		want string
	}{
		"half close": {(*Conn).CloseWrite, "unread"},
		"close":      {(*Conn).Close, "unread"},
		"reset":      {(*Conn).Reset, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothEnds(t, func(t *testing.T, a, b *Conn) {
				_, err := b.Write([]byte("unread"))
				require.NoError(t, err)
				require.NoError(t, tt.end(b))
				got, err := io.ReadAll(a)
				assert.Equal(t, tt.want, string(got))
				assert.Equal(t, tt.want == "", errors.Is(err, errReset))
			})
		})
	}
}

func TestWriteAfterHalfClose(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, _ *Conn) {
		require.NoError(t, a.CloseWrite())
		require.NoError(t, a.CloseWrite())
		n, err := a.Write([]byte("x"))
		assert.Zero(t, n)
		requireOpError(t, err, "write", errBroken)
	})
}

func TestEmptyReadAndWrite(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, _ *Conn) {
		n, err := a.Read(nil)
		assert.Zero(t, n)
		require.NoError(t, err)
		n, err = a.Write(nil)
		assert.Zero(t, n)
		require.NoError(t, err)
	})
}

func TestInterruptedWriteReportsWhatWasWritten(t *testing.T) {
	t.Parallel()
	bothEnds(t, func(t *testing.T, a, b *Conn) {
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := a.Write(make([]byte, 2*maxUnread))
		requireOpError(t, err, "write", os.ErrDeadlineExceeded)
		require.NoError(t, a.Close())
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.Len(t, got, n)
	})
}

// The server and the transport of net/http use deadlines, half close and concurrent
// reads and writes.
func TestHTTP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Listen("127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{IdleTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			_, err := io.Copy(w, r.Body)
			assert.NoError(t, err)
		})}
		go func() { assert.ErrorIs(t, server.Serve(l), http.ErrServerClosed) }()
		transport := &http.Transport{DialContext: n.DialContext}
		client := &http.Client{Transport: transport}
		sent := bytes.Repeat([]byte("0123456789"), 50_000)
		for range 3 {
			resp, err := client.Post("http://"+l.Addr().String()+"/path", "text/plain", bytes.NewReader(sent))
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			assert.True(t, bytes.Equal(sent, got))
			time.Sleep(2 * time.Minute) // the server closes the idle connection
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String(), nil)
		require.NoError(t, err)
		_, err = client.Do(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		transport.CloseIdleConnections()
		require.NoError(t, server.Close())
	})
}
