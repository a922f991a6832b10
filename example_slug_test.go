package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"

	"github.com/herokubuild/herokubuild"
)

// A slug is created from a directory without a build, and then downloaded, verified
// and unpacked.
func ExampleSlugsService_CreateFromDir() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("index.html")
	defer remove()
	ctx := context.Background()

	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, &herokubuild.SlugDirOptions{
		ProcessTypes: map[string]string{"web": "python3 -m http.server $PORT"},
	})
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("released as v%d\n", release.Version)

	archive, err := client.Slugs.Download(ctx, "example-app", slug.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	target := filepath.Join(dir, "unpacked")
	if err := herokubuild.UnpackSlug(ctx, archive, target, nil); err != nil {
		log.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(target, "app", "index.html"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(page))
	// Output:
	// released as v3
	// hello
}

func ExampleParseProcfile() {
	types, err := herokubuild.ParseProcfile(strings.NewReader("web: bin/web -p $PORT\nrelease: bin/migrate\n"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(types["web"])
	_, err = herokubuild.ParseProcfile(strings.NewReader("web bin/web\n"))
	fmt.Println(err)
	// Output:
	// bin/web -p $PORT
	// Procfile: line 1 ("web bin/web") is not of the form "type: command"
}

func ExampleReleasesService_Rollback() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	// The first releases of an app have no code to roll back to.
	_, err = client.Releases.Rollback(context.Background(), "example-app", "v1")
	switch {
	case errors.Is(err, herokubuild.ErrArtifactExpired):
		fmt.Println("the platform has deleted the slug of the release")
	case errors.Is(err, herokubuild.ErrNotEligible):
		fmt.Println("the release is not eligible for rollback")
	case err != nil:
		log.Fatal(err)
	}
	// Output: the release is not eligible for rollback
}

// The archive of a slug has all files below ./app.
func ExampleSlugsService_Create() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	files := fstest.MapFS{"index.html": {Data: []byte("hello\n"), Mode: 0o644}}
	archive, err := herokubuild.PackFS(ctx, files, &herokubuild.PackOptions{Prefix: "./app"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()

	slug, err := client.Slugs.Create(ctx, "example-app", herokubuild.SlugCreateOptions{
		ProcessTypes: map[string]string{"web": "python3 -m http.server $PORT"},
		Stack:        "heroku-24", Commit: "60883d9", Checksum: archive.Checksum(),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Slugs.Put(ctx, slug, archive, nil); err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("v%d %s\n", release.Version, release.Status)
	// Output: v3 succeeded
}

func ExampleUnpackSlug() {
	var hostile bytes.Buffer
	zipped := gzip.NewWriter(&hostile)
	files := tar.NewWriter(zipped)
	err := errors.Join(
		files.WriteHeader(&tar.Header{Name: "./app/../../.ssh/authorized_keys", Typeflag: tar.TypeReg, Mode: 0o600}),
		files.Close(), zipped.Close())
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir()
	defer remove()

	err = herokubuild.UnpackSlug(context.Background(), &hostile, filepath.Join(dir, "slug"), nil)
	var unpack *herokubuild.UnpackError
	if errors.As(err, &unpack) && errors.Is(err, herokubuild.ErrUnsafeArchive) {
		fmt.Println("unsafe entry:", unpack.Entry)
	}
	// Output: unsafe entry: ./app/../../.ssh/authorized_keys
}

func ExampleReleasesService_Previous() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for range 2 {
		release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client)})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := client.Releases.Wait(ctx, "example-app", release.ID, nil); err != nil {
			log.Fatal(err)
		}
	}

	previous, err := client.Releases.Previous(ctx, "example-app")
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Rollback(ctx, "example-app", previous.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("v%d: %s\n", release.Version, release.Description)
	// Output: v5: Rollback to v3
}
