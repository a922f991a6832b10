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

// One slug to many apps: one of them first, and all go back if one is not well.
func ExampleReleasesService_ReleaseToApps() {
	client, stop := exampleClient("shop-eu", "shop-us", "shop-jp")
	defer stop()
	ctx := context.Background()
	apps := []string{"shop-eu", "shop-us", "shop-jp"}
	v6 := herokubuild.ReleaseCreateOptions{Slug: exampleSlug(ctx, client), Description: "Deploy v6"}
	if _, err := client.Releases.ReleaseToApps(ctx, v6, apps, nil); err != nil {
		log.Fatal(err)
	}

	v7 := herokubuild.ReleaseCreateOptions{Slug: exampleSlug(ctx, client), Description: "Deploy v7"}
	_, err := client.Releases.ReleaseToApps(ctx, v7, apps, &herokubuild.RolloutPolicy{
		Canaries: 1,
		Verify: func(_ context.Context, app string, _ *herokubuild.Release) error {
			if app == "shop-us" {
				return errors.New("it answers with 500")
			}
			return nil
		},
		Rollback: herokubuild.RollbackUnverified,
	})
	var some *herokubuild.RolloutError
	if errors.As(err, &some) {
		for _, o := range some.Apps {
			fmt.Println(o.App, "has v7:", o.Err == nil)
			if o.RolledBack != nil {
				fmt.Println("  ", o.Err)
				fmt.Println("  ", o.RolledBack.Description)
			}
		}
	}
	// Output:
	// shop-eu has v7: true
	// shop-us has v7: false
	//    shop-us: verification failed: it answers with 500
	//    Rollback to v3
	// shop-jp has v7: true
}

func ExampleReleasesService_Promote() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	staged, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{Slug: exampleSlug(ctx, client)})
	if err != nil {
		log.Fatal(err)
	}
	// What an app runs is its newest release that succeeded.
	if _, err := client.Releases.Wait(ctx, "example-app", staged.ID, nil); err != nil {
		log.Fatal(err)
	}

	release, err := client.Releases.Promote(ctx, "example-app", "other-app", "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("v%d: %s\n", release.Version, release.Description)
	// Output: v3: Promote example-app v3
}

// A release with a release phase is pending until that has ended.
func ExampleReleasesService_Wait() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{Slug: exampleSlug(ctx, client)})
	if err != nil {
		log.Fatal(err)
	}

	output, err := client.Releases.Output(ctx, release, nil)
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
		fmt.Println("the app goes on running what it ran")
		return
	}
	fmt.Printf("v%d %s\n", release.Version, release.Status)
	// Output:
	// migrating
	// v3 succeeded
}

func ExampleReleasesService_Current() {
	client, stop := exampleClient()
	defer stop()
	release, err := client.Releases.Current(context.Background(), "example-app")
	if err != nil {
		log.Fatal(err)
	}
	if _, hasCode := release.Code(); !hasCode {
		fmt.Printf("v%d has no code to promote\n", release.Version)
	}
	// Output: v2 has no code to promote
}

// A list in pages, for a program that shows them one at a time.
func ExampleReleasesService_ListPage() {
	client, stop := exampleClient()
	defer stop()
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
