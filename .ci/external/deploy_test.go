package tool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

func source(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: ./serve\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func deploy(t *testing.T, srv *herokutest.Server) {
	t.Helper()
	var out strings.Builder
	if err := Deploy(t.Context(), srv.Client(), &out, source(t), "example-app", "other-app"); err != nil {
		t.Fatal(err)
	}
	if err := srv.CheckDeployedOnce("example-app", "other-app"); err != nil {
		t.Error(err)
	}
	if want := "example-app released\nother-app released\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestDeploy(t *testing.T) { deploy(t, herokutest.NewServer(t, nil)) }

func TestDeployIfResponsesAreLost(t *testing.T) {
	srv := herokutest.NewServer(t, nil)
	srv.Inject(
		herokutest.LoseResponse(herokutest.CreateBuild),
		herokutest.LoseResponse(herokutest.CreateRelease),
	)
	deploy(t, srv)
}

func TestDeployIfTheOutputBreaksOff(t *testing.T) {
	srv := herokutest.NewServer(t, nil)
	srv.Inject(herokutest.CutResponse(herokutest.ReadOutput, 20))
	deploy(t, srv)
}

func TestDeployThatTakesAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{
			InMemory: true,
			Build: func(ctx context.Context, b *herokutest.BuildJob) error {
				b.Printf("compiling for an hour\n")
				return b.Sleep(ctx, time.Hour-time.Minute)
			},
		})
		deploy(t, srv)
	})
}

func TestDeployThatFails(t *testing.T) {
	srv := herokutest.NewServer(t, &herokutest.Options{
		Build: func(context.Context, *herokutest.BuildJob) error { return errors.New("does not compile") },
	})
	err := Deploy(t.Context(), srv.Client(), &strings.Builder{}, source(t), "example-app")
	if !errors.Is(err, herokubuild.ErrBuildFailed) {
		t.Errorf("got %v, want a failed build", err)
	}
}
