package platform

import (
	"log/slog"
	"maps"
	"time"
)

// SlugInfo is a snapshot of a slug, or of the image of a Fir app.
type SlugInfo struct {
	ID           string
	ProcessTypes map[string]string
	Stack        string // its name
	Commit       string
	Size         int64 // of the archive; 0 before it is uploaded
	CreatedAt    time.Time
}

// Slug returns a slug or image.
func (p *Platform) Slug(id string) (SlugInfo, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.slugs[id]
	if !ok {
		return SlugInfo{}, false
	}
	info := SlugInfo{
		ID:           s.id,
		ProcessTypes: maps.Clone(s.processTypes),
		Stack:        s.stack.Name,
		Commit:       str(s.commit),
		CreatedAt:    s.created,
	}
	if size := p.slugSize(s); size != nil {
		info.Size = *size
	}
	return info, true
}

// AppName returns the name of an app, by name or ID, or an empty string if there is none.
func (p *Platform) AppName(app string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.findApp(app); a != nil {
		return a.name
	}
	return ""
}

// AddFirApp creates an app of the Fir generation, as AddApp does one of Cedar.
func (p *Platform) AddFirApp(name string) error { return p.addApp(name, p.fir) }

// Logger returns the logger of the platform.
func (p *Platform) Logger() *slog.Logger { return p.log }
