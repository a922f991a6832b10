package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"

	"github.com/herokubuild/herokubuild"
)

func ExamplePackDir() {
	dir, remove := exampleDir("main.go", ".gitignore", "noisy.log", "dist/app.js")
	defer remove()
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*.log\ndist/\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	// The archive has the files that git does not ignore, and dist, which the app needs.
	archive, err := herokubuild.PackDir(context.Background(), dir, &herokubuild.PackOptions{
		Include: []string{"dist/"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	for _, e := range archive.Plan.Entries {
		fmt.Println(e.Path)
	}
	// Output:
	// .gitignore
	// dist/app.js
	// main.go
}

func ExamplePlanArchive() {
	dir, remove := exampleDir("main.go", ".env", "noisy.log")
	defer remove()

	plan, err := herokubuild.PlanArchive(context.Background(), dir, &herokubuild.PackOptions{Exclude: []string{"*.log"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d files, %d bytes\n", plan.FileCount, plan.TotalSize)
	for _, out := range plan.Excluded {
		fmt.Printf("excluded: %s (%s)\n", out.Path, out.Reason)
	}
	for _, warning := range plan.Warnings {
		text, _, _ := strings.Cut(warning.String(), ":")
		fmt.Println("warning:", text)
	}
	// Output:
	// 2 files, 12 bytes
	// excluded: noisy.log (Exclude:1: *.log)
	// warning: .env probably contains secrets
	// warning: Procfile is missing
}

func ExamplePackFS() {
	// Any fs.FS works, such as an embed.FS or a zip.Reader.
	files := fstest.MapFS{
		"index.php": {Data: []byte("<?php echo 'hello';\n"), Mode: 0o644},
		"bin/tool":  {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
	}
	archive, err := herokubuild.PackFS(context.Background(), files, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	// Packing the same files again gives the same bytes.
	again, err := herokubuild.PackFS(context.Background(), files, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	fmt.Println(archive.Plan.FileCount, "files, the same archive:", archive.Checksum() == again.Checksum())
	// Output: 2 files, the same archive: true
}

func ExampleNewArchive() {
	_, err := herokubuild.NewArchive([]byte("PK\x03\x04 a zip file"))
	fmt.Println(errors.Is(err, herokubuild.ErrInvalidArgument))
	fmt.Println(err)
	// Output:
	// true
	// archive: not a gzipped tar archive: gzip: invalid header
}

func ExampleOpenArchive() {
	archive, err := herokubuild.OpenArchive(context.Background(), "no-such.tar.gz")
	if errors.Is(err, os.ErrNotExist) {
		fmt.Println("the archive does not exist")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	fmt.Println(archive.Size, "bytes")
	// Output: the archive does not exist
}

func ExampleTreeVersion() {
	dir, remove := exampleDir("main.go")
	defer remove()
	version, err := herokubuild.TreeVersion(context.Background(), dir)
	if err != nil {
		log.Fatal(err)
	}
	if version == "" {
		fmt.Println("the directory is not in a git repository")
	}
	// Output: the directory is not in a git repository
}

// The archive of a private repository requires a header, which Heroku cannot send.
func ExampleClient_FetchArchive() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(exampleTarball(r.Context()))
	}))
	defer repository.Close()
	from := herokubuild.SecretURL(repository.URL + "/shop/tarball/main")
	ctx := context.Background()

	_, err = client.FetchArchive(ctx, from, nil)
	fmt.Println("not found without the header:", errors.Is(err, herokubuild.ErrNotFound))
	archive, err := client.FetchArchive(ctx, from, &herokubuild.FetchArchiveOptions{
		Header: http.Header{"Authorization": {"Bearer secret"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: archive})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("build", result.Build.Status)
	// Output:
	// not found without the header: true
	// build succeeded
}
