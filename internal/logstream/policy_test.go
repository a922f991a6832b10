package logstream

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testPolicy returns a policy whose delays are seconds.
func testPolicy() policy {
	return policy{backoff: func(n int) time.Duration { return time.Duration(n) * time.Second }}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err           error
		opened, final bool
		want          end
	}{
		"network failure":               {err: io.ErrUnexpectedEOF, want: broken},
		"host unavailable":              {err: &Error{Status: 503, Err: errors.New("503")}, want: broken},
		"no bytes for long":             {err: fmt.Errorf("%w for 1m0s", ErrStalled), want: silent},
		"heartbeats only":               {err: errQuiet, want: quiet},
		"missing, not yet there":        {err: &Error{Kind: Missing, Err: io.EOF}, want: notStarted},
		"missing, final":                {err: &Error{Kind: Missing, Err: io.EOF}, final: true, want: notStarted},
		"missing, was there":            {err: &Error{Kind: Missing, Err: io.EOF}, opened: true, want: gone},
		"denied, not yet there":         {err: &Error{Kind: Denied, Err: io.EOF}, want: denied},
		"denied, was there":             {err: &Error{Kind: Denied, Err: io.EOF}, opened: true, want: gone},
		"ended properly":                {err: errClean, final: true, want: clean},
		"announced length":              {err: errComplete, want: complete},
		"announced length, final":       {err: errComplete, final: true, want: finished},
		"start not proven":              {err: errUnproven, want: unproven},
		"beginning lost":                {err: ErrTruncated, want: truncated},
		"output after the final status": {err: errEndless, want: endless},
		"form of request refused":       {err: &Error{Kind: Unsupported, Err: io.EOF}, want: rejected},
		"refused for good":              {err: &Error{Kind: Permanent, Err: io.EOF}, opened: true, want: rejected},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, classify(tt.err, tt.opened, tt.final))
		})
	}
}

func TestEveryEndHasARule(t *testing.T) {
	t.Parallel()
	for how := broken; how <= rejected; how++ {
		r, ok := rules[how]
		require.True(t, ok, "end %d", how)
		if r.first == poll || r.final == poll || r.first == await {
			assert.Contains(t, []int{maxSilent, maxGone, maxEmpty}, r.giveUp, "end %d", how)
		}
	}
	assert.Len(t, rules, int(rejected)+1)
}

// Each sequence is of connections without new output.
func TestPolicySequences(t *testing.T) {
	t.Parallel()
	type step struct {
		next  action
		delay time.Duration
	}
	s := time.Second
	tests := map[string]struct {
		ends  []end
		final bool
		want  []step
	}{
		"broken":            {[]end{broken, broken, broken}, false, []step{{reconnect, 0}, {poll, s}, {poll, 2 * s}}},
		"broken, final":     {[]end{broken, broken, broken}, true, []step{{reconnect, 0}, {poll, 0}, {poll, s}}},
		"silent":            {[]end{silent, silent}, false, []step{{poll, 0}, {poll, s}}},
		"not there yet":     {[]end{notStarted, notStarted}, false, []step{{await, s}, {await, 2 * s}}},
		"clean":             {[]end{clean, clean}, false, []step{{poll, 0}, {poll, s}}},
		"clean, final":      {[]end{clean, clean}, true, []step{{poll, 0}, {finish, 0}}},
		"complete":          {[]end{complete, finished}, true, []step{{poll, 0}, {finish, 0}}},
		"all read at once":  {[]end{finished}, true, []step{{finish, 0}}},
		"unproven":          {[]end{unproven, unproven, broken}, false, []step{{restart, 0}, {restart, 0}, {reconnect, 0}}},
		"unproven, broken":  {[]end{broken, unproven, broken}, false, []step{{reconnect, 0}, {restart, 0}, {poll, s}}},
		"gone, final":       {[]end{gone, gone, gone}, true, []step{{poll, s}, {poll, 2 * s}, {fail, 0}}},
		"silent, final":     {[]end{silent, quiet, silent}, true, []step{{poll, 0}, {poll, s}, {fail, 0}}},
		"beginning is lost": {[]end{truncated}, false, []step{{fail, 0}}},
		"endless":           {[]end{endless}, true, []step{{fail, 0}}},
		"rejected":          {[]end{rejected}, false, []step{{fail, 0}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testPolicy()
			var got []step
			for _, how := range tt.ends {
				next, delay := p.next(how, tt.final)
				got = append(got, step{next, delay})
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestPolicyGivesUpOnlyOnceTheStatusIsFinal(t *testing.T) {
	t.Parallel()
	for how, rule := range rules {
		if rule.giveUp == 0 {
			continue
		}
		p := testPolicy()
		for range 1000 {
			next, _ := p.next(how, false)
			require.NotEqual(t, fail, next, "end %d", how)
			require.NotEqual(t, finish, next, "end %d", how)
		}
		if rule.final == finish {
			continue
		}
		tries := 1
		for next, _ := p.next(how, true); next != fail; next, _ = p.next(how, true) {
			tries++
		}
		assert.Equal(t, rule.giveUp, tries, "connections before the status was final do not count; end %d", how)
	}
}

func TestPolicyStartsAgainAfterOutput(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	for range 100 {
		for range maxGone - 1 {
			next, _ := p.next(gone, true)
			require.Equal(t, poll, next)
		}
		p.delivered()
		next, delay := p.next(broken, true)
		require.Equal(t, reconnect, next)
		require.Zero(t, delay)
	}
}

func TestPolicyDelayIsNeverZeroAfterABackoff(t *testing.T) {
	t.Parallel()
	p := policy{backoff: func(int) time.Duration { return -1 }}
	_, _ = p.next(broken, false)
	_, delay := p.next(broken, false)
	assert.Equal(t, time.Millisecond, delay)
}
