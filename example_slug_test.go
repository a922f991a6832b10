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

// A directory becomes a slug without a build; the slug is downloaded, verified
// and unpacked.
func ExampleSlugsService_CreateFromDir() {
	client, stop := exampleClient()
	defer stop()
	dir, remove := exampleDir("index.html")
	defer remove()
	ctx := context.Background()

	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, herokubuild.SlugDirOptions{
		ProcessTypes: map[string]string{"web": "python3 -m http.server $PORT"},
	})
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{Slug: slug.ID})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("released as v%d\n", release.Version)

	slug, err = client.Slugs.Get(ctx, "example-app", slug.ID)
	if err != nil {
		log.Fatal(err)
	}
	archive, err := client.Slugs.Download(ctx, "example-app", slug, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	into := filepath.Join(dir, "unpacked")
	if err := herokubuild.UnpackSlug(ctx, archive, into, nil); err != nil {
		log.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(into, "app", "index.html"))
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
	// herokubuild: Procfile: line 1 ("web bin/web") is not of the form "type: command"
}

func ExampleReleasesService_Rollback() {
	client, stop := exampleClient()
	defer stop()
	// The first releases of an app have no code to go back to.
	_, err := client.Releases.Rollback(context.Background(), "example-app", "v1")
	switch {
	case errors.Is(err, herokubuild.ErrArtifactExpired):
		fmt.Println("the platform no longer has it")
	case errors.Is(err, herokubuild.ErrNotEligible):
		fmt.Println(err)
	}
	// Output: herokubuild: example-app cannot be rolled back to release v1: it is not eligible (it has neither slug nor image)
}

// An archive that was made elsewhere becomes a slug. It has everything under
// ./app.
func ExampleSlugsService_Create() {
	client, stop := exampleClient()
	defer stop()
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
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{Slug: slug.ID})
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
	var refused *herokubuild.UnpackError
	if errors.As(err, &refused) && errors.Is(err, herokubuild.ErrUnsafeArchive) {
		fmt.Println("refused because of", refused.Entry)
	}
	// Output: refused because of ./app/../../.ssh/authorized_keys
}

func ExampleReleasesService_Previous() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	for range 2 {
		release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{Slug: exampleSlug(ctx, client)})
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
