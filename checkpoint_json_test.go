package herokubuild_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// content is what a Checkpoint has, for comparison.
type content struct {
	Fields map[string]any
	Apps   map[string]herokubuild.CheckpointApp
}

func contentOf(c herokubuild.Checkpoint) content {
	got := content{Fields: map[string]any{}, Apps: maps.Collect(c.Apps())}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			got.Fields[f.Name] = v.Field(i).Interface()
		}
	}
	return got
}

// withRelease returns the Checkpoint with a release of an app.
func withRelease(t *testing.T, c herokubuild.Checkpoint) herokubuild.Checkpoint {
	t.Helper()
	c, err := c.Apply(json.RawMessage(fmt.Sprintf(`{"releases":{%q:%q}}`, appName, releaseID)))
	require.NoError(t, err)
	return c
}

func isRollingBack(c herokubuild.Checkpoint) bool {
	for _, app := range c.Apps() {
		if app.RollingBack {
			return true
		}
	}
	return false
}

func knowsApps(c herokubuild.Checkpoint) bool {
	for _, app := range c.Apps() {
		if app.ID != "" {
			return true
		}
	}
	return false
}

// oldCheckpoint is a Checkpoint as it was stored before its maps became methods.
const oldCheckpoint = `{"build_app":"shop","token":"t","source":"https://h/s","source_digest":"d","before":["01234567-89ab-cdef-0123-456789abcdef"],
	"version":"v1","checksum":"SHA256:00","commit":"c","build":"01234567-89ab-cdef-0123-456789abcdef","output":7,"release_to":["a","b"],
	"description":"Deploy","artifact":"s","started":"2026-11-25T10:00:00Z","apps":{"a":"id-a","b":"id-b"},"releases":{"a":"r-a"},
	"rollbacks":{"a":"","b":"k-b"},"failures":{"b":{"reason":"unhealthy","verify":true}},"may_roll_back":true,"settled":true,"done":true}`

func decodeCheckpoint(t *testing.T, text string) (c herokubuild.Checkpoint) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &c))
	return c
}

func TestCheckpointInJSON(t *testing.T) {
	t.Parallel()
	c := decodeCheckpoint(t, oldCheckpoint)
	assert.Equal(t, map[string]herokubuild.CheckpointApp{
		"a": {ID: "id-a", ReleaseID: "r-a", RollingBack: true},
		"b": {ID: "id-b", RollingBack: true, RollbackID: "k-b", Failure: herokubuild.CheckpointFailure{Reason: "unhealthy", Verify: true}},
	}, maps.Collect(c.Apps()))
	for name, value := range contentOf(c).Fields {
		assert.False(t, reflect.ValueOf(value).IsZero(), name)
	}
	assert.JSONEq(t, oldCheckpoint, c.String())
	assert.Equal(t, c.String(), fmt.Sprint(c))
	assert.Equal(t, c.App("a"), maps.Collect(c.Apps())["a"])
	assert.Zero(t, c.App("nobody"))

	assert.Equal(t, "{}", herokubuild.Checkpoint{}.String())
	assert.True(t, decodeCheckpoint(t, "{}").IsZero())
	require.NoError(t, json.Unmarshal([]byte(`{"output":3}`), &c))
	assert.Equal(t, `{"output":3}`, c.String(), "decoding replaces everything")
	require.NoError(t, json.Unmarshal([]byte("null"), &c))
	assert.Equal(t, `{"output":3}`, c.String(), "null decodes to nothing, as the convention is")
	for _, bad := range []string{`[]`, `""`, `7`, `{"output":"x"}`, `{"apps":[]}`, `{"apps":{"a":1}}`, `{"failures":{"a":"x"}}`, `{`} {
		require.Error(t, json.Unmarshal([]byte(bad), &c), bad)
	}
	assert.Equal(t, `{"output":3}`, c.String(), "an error changes nothing")
}

func TestUpdateLeadsFromAnyCheckpointToAnyOther(t *testing.T) {
	t.Parallel()
	all := []herokubuild.Checkpoint{
		{}, decodeCheckpoint(t, oldCheckpoint), {OutputOffset: 8, Started: time.Unix(1, 0).UTC(), ReleaseTo: []string{"b"}},
		decodeCheckpoint(t, `{"build_app":"shop","apps":{"a":"id-2"},"failures":{"b":{"reason":"unhealthy"}},"rollbacks":{"b":""}}`),
		decodeCheckpoint(t, `{"apps":{"c":"id-c"},"failures":{"a":{"reason":"","verify":true}}}`),
	}
	for i, from := range all {
		for j, to := range all {
			update, err := to.UpdateSince(from)
			require.NoError(t, err)
			assert.Equal(t, i == j, update == nil, "%d to %d", i, j)
			got, err := from.Apply(update)
			require.NoError(t, err)
			assert.Equal(t, to.String(), got.String(), "%d to %d", i, j)
		}
	}
	for _, bad := range []string{`null`, `[]`, `{"output":"x"}`, `{"apps":7}`, `x`} {
		got, err := all[1].Apply(json.RawMessage(bad))
		require.Error(t, err, bad)
		assert.True(t, got.IsZero())
	}
	cleared, err := all[1].Apply(json.RawMessage(`{"apps":null,"releases":null,"rollbacks":null,"failures":null,"unknown":1}`))
	require.NoError(t, err)
	for name, app := range cleared.Apps() {
		assert.Zero(t, app, name)
	}
	_, err = herokubuild.Checkpoint{Started: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}.UpdateSince(herokubuild.Checkpoint{})
	require.Error(t, err)
	assert.NotEmpty(t, herokubuild.Checkpoint{Started: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}.String())
}

// The Checkpoint of an event stays as it is while the rollout continues, also while it is
// encoded in another goroutine, and the updates between the events lead to each of them.
func TestCheckpointsOfEventsDoNotChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 12, withReleasePhase, platform.Options{})
	f.failReleases(t, "app-9")
	var kept []herokubuild.Checkpoint
	var copies []content
	var last, replayed herokubuild.Checkpoint
	var encoding sync.WaitGroup
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Concurrency: 4},
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			kept, copies = append(kept, e.Checkpoint), append(copies, contentOf(roundTrip(t, e.Checkpoint)))
			encoding.Go(func() { _ = e.Checkpoint.String() })
			update, err := e.Checkpoint.UpdateSince(last)
			last = e.Checkpoint
			if err == nil {
				replayed, err = replayed.Apply(update)
			}
			assert.Equal(t, contentOf(e.Checkpoint), contentOf(replayed))
			return err
		},
	}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
	encoding.Wait()
	require.Greater(t, len(kept), 50)
	for i := range kept {
		require.Equal(t, copies[i], contentOf(kept[i]), "event %d", i)
	}
}
