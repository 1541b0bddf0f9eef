package labs

import (
	whoserves "portrule.example/lab/labs/01-who-serves"
	crdbyhand "portrule.example/lab/labs/02-crd-by-hand"
	subresource "portrule.example/lab/labs/11-subresource"
	"portrule.example/lab/labs/lab"
)

// exercises are the labs, by the name of their folder.
var exercises = map[string]lab.Exercise{
	"01-who-serves":  whoserves.Exercise,
	"02-crd-by-hand": crdbyhand.Exercise,
	"11-subresource": subresource.Exercise,
}
