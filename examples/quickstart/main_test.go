package main

import (
	"bytes"
	"log"
	"strings"
	"testing"

	"github.com/herokubuild/herokubuild/herokutest"
	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestProgramDeploys runs main, which ends the process if something fails.
func TestProgramDeploys(t *testing.T) {
	srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"my-app", "my-other-app"}})
	t.Setenv("HEROKU_API_URL", srv.URL())
	t.Setenv("HEROKU_API_KEY", srv.Token())
	t.Chdir("../deploy/testdata/app")
	var out bytes.Buffer
	before := log.Writer()
	log.SetOutput(&out)
	t.Cleanup(func() { log.SetOutput(before) })

	main()

	for _, app := range []string{"my-app", "my-other-app"} {
		if want := app + " runs v3\n"; !strings.Contains(out.String(), want) {
			t.Errorf("got output %q, want %q in it", &out, want)
		}
		releases := srv.Releases(app)
		if last := releases[len(releases)-1]; last.ArtifactID == "" {
			t.Errorf("%s has no release of the slug: %+v", app, releases)
		}
	}
}
