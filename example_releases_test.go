package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/herokubuild/herokubuild"
)

// A slug is rolled out to one app first and then to the others. Apps that fail their
// check are rolled back.
func ExampleClient_Rollout() {
	defer startEmulator("shop-eu", "shop-us", "shop-jp")() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	apps := []string{"shop-eu", "shop-us", "shop-jp"}
	v6 := herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client), Description: "Deploy v6"}
	if _, err := client.Rollout(ctx, v6, apps, nil); err != nil {
		log.Fatal(err)
	}

	v7 := herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client), Description: "Deploy v7"}
	_, err = client.Rollout(ctx, v7, apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Canaries: 1,
			Verify: func(_ context.Context, app string, _ *herokubuild.Release) error {
				if app == "shop-us" {
					return errors.New("status 500")
				}
				return nil
			},
			Rollback: herokubuild.RollbackVerifyFailed,
		},
	})
	var failed *herokubuild.RolloutError
	if errors.As(err, &failed) {
		for _, app := range failed.Apps {
			fmt.Printf("%s: %s\n", app.App, app.Outcome())
			if app.RolledBack != nil {
				fmt.Println("  ", app.Err)
				fmt.Println("  ", app.RolledBack.Description)
			}
		}
	}
	// Output:
	// shop-eu: released
	// shop-us: rolled_back
	//    shop-us: verification failed: status 500
	//    Rollback to v3
	// shop-jp: released
}

func ExampleReleasesService_Promote() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	staged, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client)})
	if err != nil {
		log.Fatal(err)
	}
	// An app runs its newest release that succeeded.
	if _, err := client.Releases.Wait(ctx, "example-app", staged.ID, nil); err != nil {
		log.Fatal(err)
	}

	release, err := client.Releases.Promote(ctx, "example-app", "other-app", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("v%d: %s\n", release.Version, release.Description)
	// Output: v3: Promote example-app v3
}

// A release is pending until its release phase has ended.
func ExampleReleasesService_Wait() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client)})
	if err != nil {
		log.Fatal(err)
	}

	output, err := client.Releases.Output(ctx, "example-app", release.ID, nil)
	switch {
	case errors.Is(err, herokubuild.ErrNoOutput):
		fmt.Println("there is no release phase")
	case err != nil:
		log.Fatal(err)
	default:
		defer func() { _ = output.Close() }()
		if _, err := io.Copy(os.Stdout, output); err != nil {
			log.Fatal(err)
		}
	}
	release, err = client.Releases.Wait(ctx, "example-app", release.ID, nil)
	var failed *herokubuild.ReleaseError
	if errors.As(err, &failed) {
		fmt.Println("the app still runs its previous release")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("v%d %s\n", release.Version, release.Status)
	// Output:
	// migrating
	// v3 succeeded
}

func ExampleReleasesService_Current() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Current(context.Background(), "example-app")
	if err != nil {
		log.Fatal(err)
	}
	if release.Artifact().IsZero() {
		fmt.Printf("v%d has no code to promote\n", release.Version)
	}
	// Output: v2 has no code to promote
}

// A program can fetch a list page by page, to show one at a time.
func ExampleReleasesService_ListPage() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	opts := &herokubuild.ListOptions{SortBy: "version", PageSize: 1}
	for {
		page, err := client.Releases.ListPage(context.Background(), "example-app", opts)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("page with", page.Items[0].Description)
		if page.Next == "" {
			return
		}
		opts = &herokubuild.ListOptions{Cursor: page.Next}
	}
	// Output:
	// page with Initial release
	// page with Enable Logplex
}
