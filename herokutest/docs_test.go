package herokutest_test

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// The tests of this file are those of docs/testing.md.

// deployShop is the code to be tested.
func deployShop(ctx context.Context, client *herokubuild.Client) error {
	source := fstest.MapFS{"Procfile": {Data: []byte("web: ./serve\n")}}
	archive, err := herokubuild.PackFS(ctx, source, nil)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	_, err = client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "shop", ReleaseTo: []string{"shop-eu"}, Archive: archive,
	})
	return err
}

func TestDeployIsReleasedOnceIfAResponseIsLost(t *testing.T) {
	srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop", "shop-eu"}})
	srv.Inject(herokutest.LoseResponse(herokutest.CreateBuild))

	if err := deployShop(t.Context(), srv.Client()); err != nil {
		t.Fatal(err)
	}
	if err := srv.CheckDeployedOnce("shop", "shop-eu"); err != nil {
		t.Error(err)
	}
}

func TestDeployReportsABuildThatFailsAfter40Minutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{
			InMemory: true, // no sockets, so that time passes at once
			Apps:     []string{"shop", "shop-eu"},
			Build: func(ctx context.Context, b *herokutest.BuildJob) error {
				b.Printf("-----> Compiling\n")
				if err := b.Sleep(ctx, 40*time.Minute); err != nil {
					return err
				}
				return errors.New("main.go:7: undefined: run")
			},
		})

		err := deployShop(t.Context(), srv.Client())
		if !errors.Is(err, herokubuild.ErrBuildFailed) {
			t.Errorf("got error %v, want a failed build", err)
		}
	})
}
