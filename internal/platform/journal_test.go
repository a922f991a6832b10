package platform_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestRequestsAreLogged(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	r := start(t, platform.Options{
		Builder: platform.BuilderFunc(compiled),
		Logger:  slog.New(slog.NewJSONHandler(&text, nil)),
		Faults: func(at platform.FaultPoint) platform.Fault {
			switch at.Path {
			case "/stacks":
				return platform.Fault{Lost: true}
			case "/account":
				return platform.Fault{Delay: 1, Status: 503}
			default:
				return platform.Fault{}
			}
		},
	})
	web, err := r.Serve("example-app", http.NotFoundHandler())
	require.NoError(t, err)
	r.send("GET", web+"page?token=t0ps3cret", nil)
	r.api("GET", "/account", "")
	_, err = r.http.Get(r.URL() + "/stacks")
	require.Error(t, err)
	build, _ := r.built(r.build("example-app", targz(t, entry{name: "x"})))
	require.NoError(t, r.Close())

	got := map[string]map[string]any{}
	for line := range bytes.Lines(text.Bytes()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal(line, &record))
		if record["msg"] == "request" {
			assert.Equal(t, "INFO", record["level"])
			assert.IsType(t, 0.0, record["duration"])
			got[record["host"].(string)+" "+record["method"].(string)+" "+record["path"].(string)] = record
		}
	}
	for name, want := range map[string]map[string]any{
		"web GET /page":                     {"status": 404.0, "app": "example-app", "fault": nil},
		"api GET /account":                  {"status": 503.0, "app": nil, "fault": "Delay, Status"},
		"api GET /stacks":                   {"status": 0.0, "app": nil, "fault": "Lost"},
		"api POST /apps/example-app/builds": {"status": 201.0, "app": nil, "fault": nil},
	} {
		require.Contains(t, got, name)
		for field, value := range want {
			assert.Equal(t, value, got[name][field], "%s: %s", name, field)
		}
	}
	output, err := url.Parse(build["output_stream_url"].(string))
	require.NoError(t, err)
	for _, secret := range []string{r.Token(), output.Query().Get("X-Amz-Signature"), "Signature", "t0ps3cret"} {
		assert.NotContains(t, text.String(), secret)
	}
}
