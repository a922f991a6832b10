package platform

import (
	"sync"
	"time"
)

// rateLimiter is a pool of tokens that refills within an hour.
type rateLimiter struct {
	mu     sync.Mutex
	size   float64
	tokens float64
	at     time.Time
}

func newRateLimiter(size int, now time.Time) *rateLimiter {
	return &rateLimiter{size: float64(size), tokens: float64(size), at: now}
}

// SetRateLimit sets the size of the pool of request tokens and refills it.
func (p *Platform) SetRateLimit(size int) {
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	p.limiter.size, p.limiter.tokens, p.limiter.at = float64(size), float64(size), time.Now()
}

func (l *rateLimiter) refill() {
	now := time.Now()
	l.tokens = min(l.size, l.tokens+l.size*now.Sub(l.at).Hours())
	l.at = now
}

func (l *rateLimiter) remaining() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	return int(l.tokens)
}

func (l *rateLimiter) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
