package ioutil_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

func TestIsEOF(t *testing.T) {
	t.Parallel()
	assert.True(t, ioutil.IsEOF(io.EOF))
	assert.False(t, ioutil.IsEOF(nil))
	assert.False(t, ioutil.IsEOF(io.ErrUnexpectedEOF))
	assert.False(t, ioutil.IsEOF(fmt.Errorf("below: %w", io.EOF)))
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var p ioutil.Progress
	lost := errors.New("lost")
	for range 2 {
		for range 99 {
			require.NoError(t, p.Check(0, nil))
		}
		require.NoError(t, p.Check(1, nil), "a byte starts the count again")
	}
	require.ErrorIs(t, p.Check(0, lost), lost)
	for range 99 {
		require.NoError(t, p.Check(0, nil))
	}
	require.ErrorIs(t, p.Check(0, nil), io.ErrNoProgress)
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		assert.True(t, ioutil.Sleep(ctx, 40*time.Second))
		assert.Equal(t, 40*time.Second, time.Since(started))
		assert.False(t, ioutil.Sleep(ctx, 40*time.Second))
		assert.Equal(t, time.Minute, time.Since(started))
		assert.True(t, ioutil.Sleep(ctx, 0), "nothing to wait for")
	})
}
