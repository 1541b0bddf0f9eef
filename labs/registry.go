package labs

import (
	whoserves "portrule.example/lab/labs/01-who-serves"
	crdbyhand "portrule.example/lab/labs/02-crd-by-hand"
	rulesincel "portrule.example/lab/labs/03-rules-in-cel"
	statusandscale "portrule.example/lab/labs/04-status-and-scale"
	policiesandwebhooks "portrule.example/lab/labs/05-policies-and-webhooks"
	twoversions "portrule.example/lab/labs/06-two-versions"
	ownserver "portrule.example/lab/labs/07-own-server"
	whoami "portrule.example/lab/labs/08-who-am-i"
	mayi "portrule.example/lab/labs/09-may-i"
	rulesingo "portrule.example/lab/labs/10-rules-in-go"
	subresource "portrule.example/lab/labs/11-subresource"
	openapi "portrule.example/lab/labs/12-openapi"
	breakit "portrule.example/lab/labs/13-break-it"
	movinghouse "portrule.example/lab/labs/14-moving-house"
	measure "portrule.example/lab/labs/15-measure-it-yourself"
	emptyfolder "portrule.example/lab/labs/16-from-an-empty-folder"

	"portrule.example/lab/labs/lab"
)

// exercises are the labs, by the name of their folder.
var exercises = map[string]lab.Exercise{
	"01-who-serves":            whoserves.Exercise,
	"02-crd-by-hand":           crdbyhand.Exercise,
	"03-rules-in-cel":          rulesincel.Exercise,
	"04-status-and-scale":      statusandscale.Exercise,
	"05-policies-and-webhooks": policiesandwebhooks.Exercise,
	"06-two-versions":          twoversions.Exercise,
	"07-own-server":            ownserver.Exercise,
	"08-who-am-i":              whoami.Exercise,
	"09-may-i":                 mayi.Exercise,
	"10-rules-in-go":           rulesingo.Exercise,
	"11-subresource":           subresource.Exercise,
	"12-openapi":               openapi.Exercise,
	"13-break-it":              breakit.Exercise,
	"14-moving-house":          movinghouse.Exercise,
	"15-measure-it-yourself":   measure.Exercise,
	"16-from-an-empty-folder":  emptyfolder.Exercise,
}
