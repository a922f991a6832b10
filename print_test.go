package herokubuild_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// exported returns a value of every exported struct of the package.
func exported() []any {
	return []any{
		herokubuild.APIError{}, herokubuild.ResponseError{}, herokubuild.App{}, herokubuild.AppResult{}, herokubuild.AppsService{},
		herokubuild.Archive{}, herokubuild.ArchiveEntry{}, herokubuild.ExcludedPath{}, herokubuild.PackOptions{}, herokubuild.ArchivePlan{},
		herokubuild.ArchiveWarning{}, herokubuild.SlugDirOptions{}, herokubuild.ArgumentError{}, herokubuild.ReleaseArtifact{},
		herokubuild.Blob{}, herokubuild.Build{}, herokubuild.BuildAndReleaseOptions{}, herokubuild.BuildCreateOptions{}, herokubuild.BuildError{},
		herokubuild.Buildpack{}, herokubuild.BuildsService{}, herokubuild.Checkpoint{}, herokubuild.Change{}, herokubuild.CheckpointApp{}, herokubuild.CheckpointFailure{}, herokubuild.ChecksumError{}, herokubuild.Client{},
		herokubuild.DeployError{}, herokubuild.DoOptions{}, herokubuild.DownloadOptions{}, herokubuild.DeployEvent{}, herokubuild.RolloutError{}, herokubuild.RolloutOptions{},
		herokubuild.Artifact{}, herokubuild.DeployDurations{}, herokubuild.RolloutPolicy{}, herokubuild.RolloutResult{},
		herokubuild.FetchArchiveOptions{}, herokubuild.GenerationError{}, herokubuild.HealthCheckError{}, herokubuild.HealthCheckOptions{}, herokubuild.ListOptions{}, herokubuild.Page[herokubuild.Build]{},
		herokubuild.PromoteOptions{}, herokubuild.ResourceRef{}, herokubuild.Release{}, herokubuild.ReleaseCreateOptions{}, herokubuild.ReleaseError{}, herokubuild.ReleasesService{},
		herokubuild.RequestError{}, herokubuild.Response{}, herokubuild.DeployResult{}, herokubuild.DeploySummary{}, herokubuild.AppSummary{}, herokubuild.RetryOptions{}, herokubuild.RollbackError{}, herokubuild.Slug{},
		herokubuild.SlugCreateOptions{}, herokubuild.SlugsService{}, herokubuild.Source{}, herokubuild.SourceBlob{}, herokubuild.SourceURLs{}, herokubuild.SourcesService{},
		herokubuild.StreamError{}, herokubuild.StreamOptions{}, herokubuild.UnpackError{}, herokubuild.UnpackOptions{}, herokubuild.StorageError{},
		herokubuild.UploadOptions{}, herokubuild.User{}, herokubuild.WaitOptions{},
	}
}

// filled returns a pointer to a value whose fields have a signed URL or the key wherever
// the types permit one.
func filled(t *testing.T, typ reflect.Type) reflect.Value {
	t.Helper()
	v := reflect.New(typ)
	fill(v.Elem(), 0)
	return v
}

func fill(v reflect.Value, depth int) {
	const deepest = 8
	switch {
	case depth > deepest || !v.CanSet():
		return
	case v.Type() == reflect.TypeFor[herokubuild.SecretURL]():
		v.SetString(sourceURL + fakeQuery)
		return
	case v.Type() == reflect.TypeFor[http.Header]():
		v.Set(reflect.ValueOf(http.Header{"Authorization": {"Bearer " + testToken}}))
		return
	case v.Type() == reflect.TypeFor[error]():
		v.Set(reflect.ValueOf(fmt.Errorf("cause: %w", &herokubuild.RequestError{Err: errors.New(`Get "` + sourceURL + fakeQuery + `": EOF`)})))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), value)
	default:
	}
}

// around returns values that have v in the ways that programs do.
func around(v reflect.Value) map[string]any {
	typ := v.Type().Elem()
	list := reflect.MakeSlice(reflect.SliceOf(typ), 0, 1)
	pointers := reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1)
	m := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), v.Type()))
	m.SetMapIndex(reflect.ValueOf("key"), v)
	field := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Field", Type: typ}, {Name: "Pointer", Type: v.Type()}}))
	field.Elem().Field(0).Set(v.Elem())
	field.Elem().Field(1).Set(v)
	all := map[string]any{
		"pointer": v.Interface(), "value": v.Elem().Interface(),
		"list": reflect.Append(list, v.Elem()).Interface(), "list of pointers": reflect.Append(pointers, v).Interface(),
		"map": m.Interface(), "any": map[string]any{"value": v.Elem().Interface(), "pointer": v.Interface()}, "anys": []any{v.Interface()},
		"struct": field.Elem().Interface(), "pointer to struct": field.Interface(),
	}
	if err, ok := v.Interface().(error); ok {
		all["wrapped"] = fmt.Errorf("wrapped: %w", err)
		all["joined"] = errors.Join(errors.New("other"), err)
	}
	return all
}

// No value shows a secret when it is printed, logged or encoded as JSON, wherever in it
// the secret is.
func TestNoValueShowsASecret(t *testing.T) {
	t.Parallel()
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%t", "%e", "%g", "%U", "%c", "%T", "%z", "%08v", "%-9s", "% x", "%+q", "%#x"}
	hexed := []string{fmt.Sprintf("%x", "Signature="), fmt.Sprintf("%X", "Signature="), fmt.Sprintf("% x", "Signature="), fmt.Sprintf("%x", testToken)}
	for _, zero := range exported() {
		typ := reflect.TypeOf(zero)
		t.Run(typ.Name(), func(t *testing.T) {
			t.Parallel()
			for place, v := range around(filled(t, typ)) {
				for _, verb := range verbs {
					if typ == reflect.TypeFor[herokubuild.StorageError]() && (place == "joined" || place == "wrapped") {
						// This one was created with the signature: see TestUploadErrorHasNoSignature.
						continue
					}
					text := fmt.Sprintf(verb, v)
					assertNoSecret(t, text)
					for _, secret := range hexed {
						assert.NotContains(t, text, secret, "%s %s", place, verb)
					}
				}
				if b, err := json.Marshal(v); err == nil {
					assertNoSecret(t, string(b))
				}
				var log strings.Builder
				for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
					slog.New(handler).Info("message", "v", v, slog.Group("group", "v", v))
				}
				assertNoSecret(t, log.String())
			}
		})
	}
}

func TestEveryExportedTypeIsAmongThoseThatArePrinted(t *testing.T) {
	t.Parallel()
	var known []string
	for _, v := range exported() {
		name, _, _ := strings.Cut(reflect.TypeOf(v).Name(), "[")
		known = append(known, name)
	}
	// A stream is not copied. It prints its URL.
	known = append(known, "OutputStream")
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok {
					assert.Contains(t, known, spec.Name.Name, "add it to exported")
				}
			}
			return true
		})
	}
}

func TestUploadErrorHasNoSignature(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	a.on("PUT", sourceURL, reply(403, ""))
	archive, _ := testArchive(t)
	err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
	var refused *herokubuild.StorageError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, sourceURL+"?REDACTED", refused.URL.Reveal())
	for _, verb := range []string{"%t", "%U", "%c", "%e"} {
		assertNoSecret(t, fmt.Sprintf(verb, errors.Join(err)))
	}
}

func TestDownloadPrintsNoSignature(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", slugURL, reply(200, "archive"))
	slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: slugURL + fakeQuery}}
	r, err := a.Slugs.DownloadFrom(t.Context(), appName, slug, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "r", r, "in a list", []any{r})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "r", r, "in a list", []any{r})
	assert.Contains(t, log.String(), slugURL+"?REDACTED")
	assertNoSecret(t, log.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t", "%p", "%w"} {
		assertNoSecret(t, fmt.Sprintf(verb, r))
		assertNoSecret(t, fmt.Sprintf(verb, struct{ r any }{r}))
	}
	assert.Equal(t, slugURL+"?REDACTED", fmt.Sprint(r))
}

func TestResultInJSON(t *testing.T) {
	t.Parallel()
	signed := herokubuild.SecretURL(sourceURL + fakeQuery)
	checkpoint := withRelease(t, herokubuild.Checkpoint{BuildApp: appName, BuildID: buildID, OutputOffset: 7})
	b, err := json.Marshal(&herokubuild.DeployResult{
		Version: "v1", Checksum: checksum, Artifact: herokubuild.Artifact{SlugID: slugID}, Checkpoint: checkpoint,
		Build: &herokubuild.Build{ID: buildID, Status: "succeeded", OutputStreamURL: signed, SourceBlob: herokubuild.SourceBlob{URL: signed}},
		Apps: []herokubuild.AppResult{
			{App: appName, Release: &herokubuild.Release{ID: releaseID, Version: 3, Status: "succeeded", OutputStreamURL: signed}},
			{App: "other-app", Err: herokubuild.ErrNotAttempted},
		},
	})
	require.NoError(t, err)
	assertNoSecret(t, string(b))
	var got struct {
		Version, Checksum string
		Slug              string `json:"slug_id"`
		Build             map[string]any
		Apps              []map[string]any
		Checkpoint        herokubuild.Checkpoint
	}
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, []string{"v1", checksum, slugID}, []string{got.Version, got.Checksum, got.Slug})
	assert.Equal(t, buildID, got.Build["id"])
	assert.Equal(t, sourceURL+"?REDACTED", got.Build["output_stream_url"])
	assert.Equal(t, contentOf(checkpoint), contentOf(got.Checkpoint), "a checkpoint can be decoded from a report")
	assert.Equal(t, []map[string]any{
		{"app": appName, "outcome": "released", "release_id": releaseID, "version": 3., "status": "succeeded"},
		{"app": "other-app", "outcome": "not_attempted", "error": "not attempted"},
	}, got.Apps)
}

func TestEventInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(herokubuild.DeployEvent{
		Kind: herokubuild.EventHeartbeat, Time: at(t, "2026-01-02T03:04:05Z"), App: appName, Quiet: 1500 * time.Millisecond,
		Archive: &herokubuild.Archive{}, Err: errors.New("why"),
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{"kind":"heartbeat","time":"2026-01-02T03:04:05Z","app":"example-app","quiet_seconds":1.5,"error":"why","checkpoint":{}}`, string(b))
}

func TestFetchArchiveOptionsInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(herokubuild.FetchArchiveOptions{Header: http.Header{"Authorization": {"Bearer " + testToken}}, MaxBytes: 5})
	require.NoError(t, err)
	assert.JSONEq(t, `{"header":["Authorization"],"max_bytes":5}`, string(b))
}

// The request has the whole URL.
func TestBuildIsSentTheWholeURL(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("POST", buildsURL, replyFile(t, 201, "build_pending.json"))
	blob := herokubuild.SourceBlob{URL: sourceURL + fakeQuery, Checksum: checksum, Version: "v1", VersionDescription: "First"}
	_, err := a.Builds.Create(t.Context(), appName, herokubuild.BuildCreateOptions{SourceBlob: blob})
	require.NoError(t, err)
	a.requireCall(t, "POST", buildsURL, `{"source_blob":{"url":"`+sourceURL+fakeQuery+`","checksum":"`+checksum+`","version":"v1","version_description":"First"}}`)
}

// A body of the caller that would lose a signature is refused.
func TestDoRefusesSecretURLs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("POST", apiURL+"/x", reply(204, ""))
	signed := herokubuild.SecretURL(sourceURL + fakeQuery)
	type cycle struct{ Next *cycle }
	for name, body := range map[string]any{
		"url": signed, "options": herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: signed}},
		"map": map[string]any{"a": []any{map[string]herokubuild.SecretURL{"b": signed}}}, "pointer": &struct{ U *herokubuild.SecretURL }{&signed},
	} {
		requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: body}), "DoOptions.Body")
		assert.Zero(t, a.mock.GetTotalCallCount(), name)
	}
	requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: []byte("x")}), "DoOptions.Body")
	c := new(cycle)
	c.Next = c
	requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: c}), "DoOptions.Body")
	for _, body := range []any{map[string]string{"url": signed.Reveal()}, herokubuild.Blob{URL: sourceURL}, json.RawMessage(`"x"`), nil} {
		require.NoError(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: body}))
	}
}
