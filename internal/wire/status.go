package wire

import (
	"net/http"

	"github.com/jumpget/jumpget/internal/job"
)

// httpStatus gives each code its HTTP status. It is the only such table.
var httpStatus = map[job.Code]int{
	job.CodeBadRequest:   http.StatusBadRequest,
	job.CodeBadURL:       http.StatusBadRequest,
	job.CodeOriginDenied: http.StatusForbidden,
	job.CodeOriginLogin:  http.StatusBadGateway,
	job.CodeOriginStatus: http.StatusBadGateway,
	job.CodeOriginNet:    http.StatusBadGateway,
	job.CodeOriginTLS:    http.StatusBadGateway,
	job.CodeOriginProto:  http.StatusBadGateway,
	job.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	job.CodeQuota:        http.StatusInsufficientStorage,
	job.CodeDisk:         http.StatusInsufficientStorage,
	job.CodeNotFound:     http.StatusNotFound,
	job.CodeExpired:      http.StatusGone,
	job.CodeRemoved:      http.StatusGone,
	job.CodeForbidden:    http.StatusForbidden,
	job.CodeAddress:      http.StatusNotFound,
	job.CodeUnavailable:  http.StatusServiceUnavailable,
	job.CodeVersion:      http.StatusUpgradeRequired,
	job.CodeInternal:     http.StatusInternalServerError,
}

// HTTPStatus returns the HTTP status for a code; 500 for one it does not know.
func HTTPStatus(code job.Code) int {
	if s, ok := httpStatus[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
