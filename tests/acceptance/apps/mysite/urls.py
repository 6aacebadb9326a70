from django.http import HttpRequest, JsonResponse
from django.urls import path

from livecheck_celery import current_test
from mysite.checks import test_faked


def create_order(request: HttpRequest) -> JsonResponse:
    test = current_test()
    test_faked.handled.send(len(request.body))
    return JsonResponse({"test": test and test.id, "size": len(request.body)})


urlpatterns = [path("order/", create_order)]
