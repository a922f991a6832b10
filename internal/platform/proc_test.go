package platform_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("PROC_TEST_ROLE"); role != "" {
		if err := family(role, os.Getenv("PROC_TEST_ADDRESS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testenv.Main(m)
}

// family runs this program as a parent that starts a child. Both connect to the
// test and exit when the test closes the connection.
func family(role, address string) error {
	if role == "parent" {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "PROC_TEST_ROLE=child")
		if err := child.Start(); err != nil {
			return err
		}
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, role); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

func TestChildProcessesEndWithProgram(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(parent net.Conn, cancel func()){
		"canceled":      func(_ net.Conn, cancel func()) { cancel() },
		"program exits": func(parent net.Conn, _ func()) { assert.NoError(t, parent.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close() //nolint:errcheck
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			r := start(t, platform.Options{Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
				err := j.Run(ctx, []string{"PROC_TEST_ROLE=parent", "PROC_TEST_ADDRESS=" + l.Addr().String()}, os.Args[0])
				ended <- err
				return err
			})})
			r.build("example-app", targz(t, entry{name: "README"}))

			until := time.Now().Add(deadline)
			require.NoError(t, l.(*net.TCPListener).SetDeadline(until))
			conns := map[string]net.Conn{}
			for range 2 {
				c, err := l.Accept()
				require.NoError(t, err)
				defer c.Close() //nolint:errcheck
				require.NoError(t, c.SetDeadline(until))
				role, err := bufio.NewReader(c).ReadString('\n')
				require.NoError(t, err)
				conns[role] = c
			}
			assert.Empty(t, ended)
			end(conns["parent\n"], cancel)
			_, err = conns["child\n"].Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the child is still running")
			assert.Equal(t, name == "canceled", <-ended != nil)
		})
	}
}
