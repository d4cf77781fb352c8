package fetch

import "context"

const mostRedirects = 10

type fetcher struct{ o Options }

func newFetcher(o Options) (*fetcher, error)                  { return &fetcher{o}, nil }
func (f *fetcher) run(ctx context.Context) (r Result, e error) { return }
func (f *fetcher) emit(e Event)                                {}
