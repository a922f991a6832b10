package herokubuild_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

const slugsURL = apiURL + "/apps/" + appName + "/slugs"

func TestSlugsGet(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", slugsURL+"/"+slugID, replyFile(t, 200, "slug.json"))
	slug, err := a.Slugs.Get(t.Context(), appName, slugID)
	require.NoError(t, err)
	a.requireCall(t, "GET", slugsURL+"/"+slugID, "")
	assert.Equal(t, &herokubuild.Slug{
		ID: slugID, Blob: herokubuild.Blob{Method: "get", URL: slugURL + fakeQuery},
		BuildpackProvidedDescription: "Go", Checksum: checksum,
		Commit: "60883d9e8947a57e04dc9124f25df004866a2051", CommitDescription: "fixed a bug with API documentation",
		ProcessTypes: map[string]string{"web": "bin/web -p $PORT", "worker-2": "bin/worker"}, Size: 2048,
		Stack:     herokubuild.ResourceRef{ID: "5b2b9d3e-2a52-4c06-8f21-5b1fbf5b3a11", Name: "heroku-24"},
		CreatedAt: at(t, "2024-05-01T10:00:00Z"), UpdatedAt: at(t, "2024-05-01T10:02:00Z"), DeletedAt: at(t, "2024-07-01T00:00:00Z"),
	}, slug)
}

func TestSlugsCreate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts herokubuild.SlugCreateOptions
		body string
	}{
		"least": {herokubuild.SlugCreateOptions{}, `{"process_types":{}}`},
		"most": {
			herokubuild.SlugCreateOptions{
				ProcessTypes: map[string]string{"web": "bin/web && true", "a_b-2": "x"}, Stack: "heroku-24", Checksum: checksum,
				Commit: "c", CommitDescription: "d", BuildpackProvidedDescription: "Go",
			},
			`{"process_types":{"a_b-2":"x","web":"bin/web && true"},"stack":"heroku-24","checksum":"` + checksum + `",` +
				`"commit":"c","commit_description":"d","buildpack_provided_description":"Go"}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("POST", slugsURL, replyFile(t, 201, "slug_created.json"))
			slug, err := a.Slugs.Create(t.Context(), appName, tt.opts)
			require.NoError(t, err)
			a.requireCall(t, "POST", slugsURL, tt.body)
			assert.Equal(t, herokubuild.Blob{Method: "PUT", URL: slugURL + fakeQuery}, slug.Blob)
			assert.Zero(t, slug.Size)
			assert.Empty(t, slug.Commit)
			assert.True(t, slug.DeletedAt.IsZero())
		})
	}
}

func TestSlugsRefuse(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	archive, _ := testArchive(t)
	for want, opts := range map[string][]herokubuild.SlugCreateOptions{
		"ProcessTypes": {{ProcessTypes: map[string]string{"": "x"}}, {ProcessTypes: map[string]string{"a b": "x"}}, {ProcessTypes: map[string]string{"web": ""}}},
		"Checksum":     {{Checksum: "sha256:beef"}},
	} {
		for _, o := range opts {
			_, err := a.Slugs.Create(t.Context(), appName, o)
			requireInvalid(t, err, want)
		}
	}
	_, err := a.Slugs.Create(t.Context(), "", herokubuild.SlugCreateOptions{})
	requireInvalid(t, err, "app")
	_, err = a.Slugs.Get(t.Context(), "", slugID)
	requireInvalid(t, err, "app")

	get := &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: slugURL + fakeQuery}}
	put := &herokubuild.Slug{Blob: herokubuild.Blob{Method: "put", URL: slugURL + fakeQuery}}
	requireInvalid(t, a.Slugs.Put(t.Context(), nil, archive, nil), "slug")
	requireInvalid(t, a.Slugs.Put(t.Context(), get, archive, nil), "slug")
	requireInvalid(t, a.Slugs.Put(t.Context(), put, nil, nil), "archive")
	_, err = a.Slugs.Download(t.Context(), appName, nil, nil)
	requireInvalid(t, err, "slug")
	_, err = a.Slugs.Download(t.Context(), appName, put, nil)
	requireInvalid(t, err, "slug")
	_, err = a.Slugs.Download(t.Context(), appName, new(herokubuild.Slug), nil)
	requireInvalid(t, err, "slug")
	assert.Zero(t, a.mock.GetTotalCallCount())
}

func TestSlugsPut(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"put", "PUT", "Post"} {
		a := newAPI(t)
		archive, content := testArchive(t)
		a.on("PUT", slugURL, reply(200, ""))
		a.on("POST", slugURL, reply(200, ""))
		require.NoError(t, a.Slugs.Put(t.Context(), &herokubuild.Slug{Blob: herokubuild.Blob{Method: method, URL: slugURL + fakeQuery}}, archive, nil))
		seen := a.seen()
		require.Len(t, seen, 1)
		assert.Equal(t, string(content), seen[0].Body)
		assert.Equal(t, slugURL+fakeQuery, seen[0].URL)
		assert.NotContains(t, seen[0].Header, "Authorization")
		assert.NotContains(t, seen[0].Header, "Content-Type")
	}
}

func blobAt(url string) *herokubuild.Slug {
	return &herokubuild.Slug{Blob: herokubuild.Blob{Method: "get", URL: herokubuild.SecretURL(url)}}
}

func TestSlugsDownload(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"app/data", random(100_000)})
	calls := 0
	client, server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		assert.NotContains(t, r.Header, "Authorization")
		assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"), "the archive is gzip itself")
		if calls == 1 {
			w.WriteHeader(503)
			return
		}
		_, _ = w.Write(content)
	})
	body, err := client.Slugs.Download(t.Context(), appName, blobAt(server.URL+"/slug"+fakeQuery), nil)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.True(t, bytes.Equal(content, got))
}

func TestSlugsDownloadFails(t *testing.T) {
	t.Parallel()
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", slugURL, reply(403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))
		body, err := a.Slugs.Download(t.Context(), appName, blobAt(slugURL+fakeQuery), nil)
		assert.Nil(t, body)
		require.ErrorIs(t, err, herokubuild.ErrForbidden)
		assert.Contains(t, err.Error(), "AccessDenied: Request has expired")
		assertErrorClean(t, err)
	})
	t.Run("cut short", func(t *testing.T) {
		t.Parallel()
		client, server := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("part"))
		})
		body, err := client.Slugs.Download(t.Context(), appName, blobAt(server.URL+"/slug"+fakeQuery), nil)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		assert.Equal(t, "part", string(got))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assertErrorClean(t, err)
		require.NoError(t, body.Close())
	})
	t.Run("canceled while reading", func(t *testing.T) {
		t.Parallel()
		client, server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("part"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		body, err := client.Slugs.Download(ctx, appName, blobAt(server.URL+"/slug"+fakeQuery), nil)
		require.NoError(t, err)
		_, err = io.ReadFull(body, make([]byte, 4))
		require.NoError(t, err)
		cause := errors.New("the operator has had enough")
		cancel(cause)
		_, err = io.ReadAll(body)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, cause)
		assertErrorClean(t, err)
		require.NoError(t, body.Close())
	})
}
