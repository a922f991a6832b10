// Command platform runs an emulator of Heroku's Platform API on loopback until
// it is interrupted. Use it to try out programs and curl commands without an
// account. Builds (of Go modules and of apps with a bin/compile) and release
// phases run on this machine as the current user; only give it code you trust.
//
//	go run ./examples/platform
//
// It prints the environment variables that a client needs. Only the apps listed
// in -apps exist.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:5000", "`address` of the API; the storage and stream hosts use other ports")
	apps := flag.String("apps", "example-app,other-app", "`names` of the apps, separated by commas")
	token := flag.String("token", "", "API `key` to accept (default: a random one)")
	verbose := flag.Bool("v", false, "log every build and release")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "platform: unexpected argument %q; flags come first\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := serve(*addr, *apps, *token, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "platform:", err)
		os.Exit(1)
	}
}

func serve(addr, apps, token string, verbose bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	names := strings.Split(apps, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	opts := platform.Options{Addr: addr, Apps: names, Token: token}
	if verbose {
		opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	p, err := platform.Start(opts)
	if err != nil {
		return err
	}
	fmt.Printf("export HEROKU_API_URL=%s\nexport HEROKU_API_KEY=%s\n", p.URL(), p.Token())
	fmt.Fprintf(os.Stderr, "# apps: %s; interrupt to stop\n", strings.Join(p.AppNames(), ", "))
	<-ctx.Done()
	return p.Close()
}
