package download

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	errLost := errors.New("connection reset")
	tests := map[string]struct {
		err                   error
		expired, rangeRefused bool
	}{
		"forbidden":             {err: &Error{Kind: Refused, Status: 403, Err: errLost}, expired: true},
		"not found":             {err: &Error{Kind: Refused, Status: 404, Err: errLost}, expired: true},
		"range not satisfiable": {err: &Error{Kind: Refused, Status: 416, Err: errLost}, rangeRefused: true},
		"bad request":           {err: &Error{Kind: Refused, Status: 400, Err: errLost}},
		"wrapped":               {err: fmt.Errorf("dial: %w", &Error{Kind: Refused, Status: 403, Err: errLost}), expired: true},
		"another error":         {err: errLost},
		"unusable response":     {err: &Error{Kind: Unusable, Status: 403, Err: errLost}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := asError(tt.err)
			require.ErrorIs(t, e, errLost)
			assert.Equal(t, tt.expired, e.expired())
			assert.Equal(t, tt.rangeRefused, e.rangeRefused())
		})
	}
	assert.Equal(t, Refused, asError(errLost).Kind)
}
