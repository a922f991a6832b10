package herokubuild

import (
	"context"
	"io"
	"testing"

	"github.com/herokubuild/herokubuild/internal/gate"
)

// OccupyPackers takes all places for packing until leave is called.
func (c *Client) OccupyPackers(t *testing.T) (leave func()) {
	t.Helper()
	return occupy(t, c.api.packers.compressing)
}

// OccupyArchives takes all places for archives on disk until leave is called.
func (c *Client) OccupyArchives(t *testing.T) (leave func()) {
	t.Helper()
	return occupy(t, c.api.packers.archives)
}

func occupy(t *testing.T, g *gate.Gate) (leave func()) {
	t.Helper()
	var leaves []func()
	for range g.Places() {
		place, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, place.Leave)
	}
	return func() {
		for _, leave := range leaves {
			leave()
		}
	}
}

// DownloadFrom is [SlugsService.Download] without the request for the slug, so that a
// test can choose what the slug is.
func (s SlugsService) DownloadFrom(ctx context.Context, app string, slug *Slug, opts *DownloadOptions) (io.ReadCloser, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return s.download(ctx, app, slug, o)
}

// Packers are what the calls of a client that pack share.
type Packers struct{ *packers }

func NewPackers() Packers { return Packers{newPackers()} }

// PackDir is the packing of a deploy.
func (p Packers) PackDir(ctx context.Context, dir string) (archive *Archive, err error) {
	job, err := p.begin(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer job.end()
	err = job.run(ctx, func(p packing) (err error) {
		archive, err = packDir(ctx, dir, nil, p)
		return err
	})
	return archive, err
}

// The bounds of what the deploys of one client do at once.
const (
	MaxArchives  = maxArchives
	MaxLookups   = maxLookups
	GatePatience = gatePatience
)

// Use packs and uploads an archive, as a deploy does.
func (p Packers) Use(ctx context.Context, pack, upload func(progress func())) error {
	job, err := p.begin(ctx, "dir")
	if err != nil {
		return err
	}
	defer job.end()
	err = job.run(ctx, func(p packing) error {
		pack(p.progress)
		return nil
	})
	if err == nil {
		upload(job.progress)
	}
	return err
}
