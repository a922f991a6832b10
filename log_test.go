package herokubuild_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// logger returns a logger of all levels, and what it wrote.
func logger() (herokubuild.Option, func(t *testing.T) []map[string]any) {
	var text strings.Builder
	log := slog.New(slog.NewJSONHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return herokubuild.WithLogger(log), func(t *testing.T) []map[string]any {
		t.Helper()
		assertNoSecret(t, text.String())
		t.Log("\n" + text.String())
		var lines []map[string]any
		for _, line := range strings.Split(strings.TrimSpace(text.String()), "\n") {
			var m map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			delete(m, "time")
			lines = append(lines, m)
		}
		return lines
	}
}

func TestLogOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		option, lines := logger()
		a := newAPI(t, option, herokubuild.WithRetry(herokubuild.RetryOptions{MinWait: time.Second, MaxWait: time.Second}))
		slow := func(req *http.Request) (*http.Response, error) {
			time.Sleep(40 * time.Millisecond)
			return replyFile(t, 200, "build_succeeded.json")(req)
		}
		a.on("GET", buildURL, reply(429, "", "Request-Id", "id-9", "RateLimit-Remaining", "0", "Retry-After", "7"), fail(errDropped), slow,
			reply(404, golden(t, "error_not_found.json"), "Warning-Message", "use https://example.com/?key=x", "Warning-Id", "old"))
		_, err := a.Builds.Get(t.Context(), appName, buildID)
		require.NoError(t, err)
		_, err = a.Builds.Get(t.Context(), appName, buildID)
		require.ErrorIs(t, err, herokubuild.ErrNotFound)

		line := func(level, msg string, more ...any) map[string]any {
			m := map[string]any{
				"level": level, "msg": "herokubuild: " + msg, "method": "GET",
				"host": "api.heroku.com", "path": "/apps/" + appName + "/builds/" + buildID,
			}
			for i := 0; i < len(more); i += 2 {
				m[more[i].(string)] = more[i+1]
			}
			return m
		}
		got := lines(t)
		require.Len(t, got, 5)
		again := "retrying request"
		sent := func(n int) string { return a.seen()[n].Header.Get("Request-Id") }
		assert.Equal(t, line("INFO", again, "attempt", 1., "duration", 0., "status", 429., "request_id", "id-9", "rate_remaining", 0., "wait", 7e9), got[0])
		assert.InDelta(t, 0.75e9, got[1]["wait"], 0.25e9)
		delete(got[1], "wait")
		assert.Equal(t, line("INFO", again, "attempt", 2., "duration", 0., "error", errDropped.Error(), "request_id", sent(1)), got[1])
		assert.Equal(t, line("DEBUG", "request", "attempt", 3., "duration", 40e6, "status", 200., "request_id", sent(2)), got[2], "the duration excludes the waits")
		assert.Equal(t, line("DEBUG", "request", "attempt", 1., "duration", 0., "status", 404., "request_id", sent(3)), got[3], "a returned failure is not logged in addition")
		assert.Equal(t, line("WARN", "warning from Heroku", "warning", "use https://example.com/?REDACTED", "warning_id", "old"), got[4])
	})
}

func TestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		option, lines := logger()
		a := newAPI(t, option)
		a.on("POST", apiURL+"/sources", replyFile(t, 201, "source.json"))
		a.on("PUT", sourceURL,
			fail(errors.New(`Put "`+sourceURL+fakeQuery+`": broken pipe`)),
			reply(503, golden(t, "storage_refusal.xml")),
			reply(200, ""))
		archive, _ := testArchive(t)
		_, err := a.Sources.Upload(t.Context(), archive, nil)
		require.NoError(t, err)

		got := lines(t)
		require.Len(t, got, 4, "one line per attempt")
		assert.Equal(t, `Put "`+sourceURL+`?REDACTED": broken pipe`, got[1]["error"])
		assert.Equal(t, "storage.example.com", got[2]["host"])
		assert.Equal(t, "/sources/1.tgz", got[3]["path"])
		assert.EqualValues(t, 3, got[3]["attempt"])
	})
}

func TestLogOfStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		option, lines := logger()
		a := newAPI(t, option)
		broken := func(req *http.Request) (*http.Response, error) {
			resp, err := reply(200, "one\n")(req)
			resp.Body = io.NopCloser(io.MultiReader(resp.Body, failingReader{errDropped}))
			return resp, err
		}
		s := a.output(t.Context(), t, nil, broken, reply(206, "one\ntwo\n", "Content-Range", "bytes 0-7/8"))
		_, err := io.ReadAll(s)
		require.NoError(t, err)

		got := lines(t)
		require.Len(t, got, 6)
		assert.Equal(t, map[string]any{
			"level": "INFO", "msg": "herokubuild: output stream interrupted, reconnecting",
			"stream": outputURL + "?REDACTED", "offset": 4., "error": errDropped.Error(),
		}, got[2])
		assert.Equal(t, map[string]any{
			"level": "DEBUG", "msg": "herokubuild: request", "method": "GET", "host": "build-output.heroku.com",
			"path": strings.TrimPrefix(outputURL, "https://build-output.heroku.com"), "attempt": 2., "duration": 0., "status": 206.,
		}, got[3])
	})
}
