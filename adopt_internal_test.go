package herokubuild

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The reserve must stay below the full pool, or the first request would wait forever.
func TestReserveIsBounded(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 32, reserveFor(16, 1000))
	assert.Equal(t, 6, reserveFor(1000, 3))
	assert.Equal(t, 450, reserveFor(2250, 40_000))
	assert.Zero(t, reserveFor(16, 0))
}

// The error names the apps that failed by themselves. It only counts those that were
// rolled back or skipped because of them.
func TestRolloutErrorNamesCauses(t *testing.T) {
	t.Parallel()
	e := new(RolloutError)
	for i := range 11 {
		app := fmt.Sprintf("app-%d", i+1)
		e.Apps = append(e.Apps, AppResult{App: app, Err: fmt.Errorf("%s: %w", app, ErrRolledBack)})
	}
	e.Apps = append(e.Apps,
		AppResult{App: "app-12", Err: fmt.Errorf("app-12: %w: %w", ErrVerifyFailed, errors.New("THE REASON"))},
		AppResult{App: "app-13", Err: ErrNotAttempted}, AppResult{App: "app-14"})
	assert.Equal(t, "released to 1 of 14 apps, 1 failed: app-12: verification failed: THE REASON (11 rolled back, 1 not attempted)", e.Error())
}
