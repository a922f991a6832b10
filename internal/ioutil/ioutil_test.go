package ioutil_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

func TestWithoutEOFNeverMatchesTheEnd(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	require.NoError(t, ioutil.WithoutEOF(nil))
	assert.Equal(t, lost, ioutil.WithoutEOF(lost))
	for _, err := range []error{io.EOF, fmt.Errorf("below: %w", io.EOF), errors.Join(lost, io.EOF)} {
		got := ioutil.WithoutEOF(err)
		require.NotErrorIs(t, got, io.EOF)
		require.ErrorIs(t, got, io.ErrUnexpectedEOF)
		assert.Equal(t, errors.Is(err, lost), errors.Is(got, lost))
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestWriteAllReportsIncompleteWrites(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for _, tt := range []struct {
		n    int
		err  error
		want int
		is   error
	}{
		{n: 3, want: 3}, {n: 2, want: 2, is: io.ErrShortWrite}, {n: 2, err: full, want: 2, is: full}, {n: 3, err: full, want: 3, is: full},
		{n: 4, is: ioutil.ErrInvalidWrite}, {n: -1, is: ioutil.ErrInvalidWrite}, {n: 4, err: full, is: full},
	} {
		n, err := ioutil.WriteAll(writer(func([]byte) (int, error) { return tt.n, tt.err }), []byte("abc"))
		assert.Equal(t, tt.want, n, "%+v", tt)
		require.ErrorIs(t, err, tt.is, "%+v", tt)
	}
}

func TestContextReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &ioutil.ContextReader{Context: ctx, Reader: strings.NewReader("abc")}
	n, err := r.Read(make([]byte, 2))
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	cancel()
	n, err = r.Read(make([]byte, 2))
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, n)
}
