package aggregated

import (
	"context"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

// Server is an aggregated API server with PortRule installed. [CompletedConfig.New]
// makes it.
type Server struct {
	generic *genericapiserver.GenericAPIServer
}

// Run serves until ctx ends, then finishes the requests under way and returns
// nil. It returns an error if the server cannot start.
func (s *Server) Run(ctx context.Context) error {
	return s.generic.PrepareRun().RunWithContext(ctx)
}
