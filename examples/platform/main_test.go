package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/herokubuild/herokubuild"
)

// start runs the program until the test ends and returns a client of it.
func start(t *testing.T, args ...string) *herokubuild.Client {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, io.Discard) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
	var printed bytes.Buffer
	for strings.Count(printed.String(), "\n") < 2 {
		if _, err := io.CopyN(&printed, out, 1); err != nil {
			t.Fatal(err)
		}
	}
	url := regexp.MustCompile(`HEROKU_API_URL=(.*)`).FindStringSubmatch(printed.String())
	key := regexp.MustCompile(`HEROKU_API_KEY=(.*)`).FindStringSubmatch(printed.String())
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(url[1]), herokubuild.WithToken(key[1]))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestServesTheAppsOfItsFlags(t *testing.T) {
	t.Parallel()
	client := start(t, "-apps", "builder, shop-eu", "-fir-apps", "shop-fir", "-token", "HRKU-key")
	for app, generation := range map[string]string{"builder": "cedar", "shop-eu": "cedar", "shop-fir": "fir"} {
		a, err := client.Apps.Get(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		if a.Generation.Name != generation {
			t.Errorf("%s is of generation %q, not %q", app, a.Generation.Name, generation)
		}
	}
	if _, err := client.Apps.Get(t.Context(), "example-app"); !errors.Is(err, herokubuild.ErrNotFound) {
		t.Errorf("got %v for an app that is not among the flags", err)
	}
}

func TestInjectsFaults(t *testing.T) {
	t.Parallel()
	client := start(t, "-faults", "1", "-instant")
	if _, err := client.Apps.Get(t.Context(), "example-app"); err != nil {
		t.Errorf("each request fails twice at most: %v", err)
	}
}

func TestRefusesInvalidArguments(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"extra", "-apps=eu -addr=127.0.0.1:0", "-apps=", "-faults=2", "-faults=-1", "-rate-limit=0", "-status-lag=-1s", "-no-such-flag", "-addr=192.0.2.1:0",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(args), &stdout, &stderr)
		if code == exitOK || stdout.Len() > 0 || strings.Count(stderr.String(), "Error:") != 1 {
			t.Errorf("%s: exit code %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
	}
	if code := run(t.Context(), []string{"-h"}, io.Discard, io.Discard); code != exitOK {
		t.Errorf("-h: exit code %d", code)
	}
}
